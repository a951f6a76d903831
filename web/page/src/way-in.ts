// How one gets a ticket to a meeting: whoever made it in this tab is its host again and again, everybody else is a guest. In: the meeting's code and
// a name. Out: tickets. Never the meeting's secret: that stays in the fragment.

import { createMeeting, DarkTowerError, type JoinTicket, requestJoin } from "@dark-tower/client";
import { readAddress } from "./address.ts";
import { forgetHostKey, hostKey, keepHostKey } from "./storage.ts";

/** Makes a meeting and remembers in this tab that it is ours; answers its code. */
export async function makeMeeting(displayName: string, isEncrypted: boolean): Promise<string> {
  const key = crypto.randomUUID();
  const made = await createMeeting(displayName, { encrypted: isEncrypted, idempotencyKey: key });
  const read = readAddress(made.meeting_url, made.meeting_url);
  if (read === undefined || !("address" in read)) throw new DarkTowerError("INTERNAL_ERROR", "the API's answer has no meeting URL");
  const { code } = read.address;
  keepHostKey(code, { key, displayName, isEncrypted, meetingId: made.meeting_id, madeAt: Date.now() });
  return code;
}

/**
 * A fresh ticket, each time it is asked: the host's by the request that made the meeting, sent again under its own key (DESIGN section 3,
 * `Idempotency-Key`), else a guest's. Throws what the API refuses with.
 */
export async function ticketTo(code: string, displayName: string): Promise<JoinTicket> {
  return (await hostTicket(code)) ?? requestJoin(code, displayName);
}

async function hostTicket(code: string): Promise<JoinTicket | undefined> {
  const host = hostKey(code);
  if (host === undefined) return undefined;
  try {
    const again = await createMeeting(host.displayName, { encrypted: host.isEncrypted, idempotencyKey: host.key });
    if (again.meeting_id === host.meetingId) return again;
  } catch (thrown) {
    const { code: why } = DarkTowerError.from(thrown);
    // The meeting's own refusals stand for the host too; another one means that the key is good for nothing any more.
    if (why !== "CONFLICT" && why !== "INVALID_REQUEST" && why !== "UNAUTHORIZED") throw thrown;
  }
  // The server has forgotten the key, or knows it from another network address: from here on one is a guest.
  forgetHostKey(code);
  return undefined;
}
