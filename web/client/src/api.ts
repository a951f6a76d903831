// The global controller's public API, as far as a participant needs it.

import { DarkTowerError, type ErrorCode } from "./error.ts";
import type { JoinTicket } from "./types.ts";

/** What the API's create answers: the host's ticket, and where the others come in. */
export interface CreatedMeeting extends JoinTicket {
  /** Of the meeting page, with the short code at its end. */
  meeting_url: string;
}

interface ErrorBody {
  error?: { code?: string; message?: string; details?: Record<string, string> };
}

/** Where the API is, and who asks. */
export interface ApiOptions {
  /** Of the global controller; the page's own if absent. */
  origin?: string;
  /** Of an API client; absent: an anonymous caller. A secret. */
  accessToken?: string;
}

async function ask<T>(
  url: string,
  options: ApiOptions,
  init: { method: "GET" | "POST" | "DELETE"; body?: unknown; key?: string | undefined },
): Promise<T> {
  const headers: Record<string, string> = {};
  if (init.body !== undefined) headers["content-type"] = "application/json";
  if (options.accessToken !== undefined) headers.authorization = `Bearer ${options.accessToken}`;
  if (init.key !== undefined) headers["idempotency-key"] = init.key;
  let response: Response;
  try {
    response = await fetch(`${options.origin ?? ""}${url}`, { method: init.method, headers, body: JSON.stringify(init.body) });
  } catch (thrown) {
    throw new DarkTowerError("CONNECTION_FAILED", thrown instanceof Error ? thrown.message : String(thrown));
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok && answer !== undefined) return answer as T;
  const { error } = (answer ?? {}) as ErrorBody;
  const details: Record<string, string> = { ...error?.details, status: String(response.status) };
  const retryAfter = response.headers.get("retry-after");
  if (retryAfter !== null) details.retry_after = retryAfter;
  throw new DarkTowerError((error?.code ?? "INTERNAL_ERROR") as ErrorCode, error?.message ?? `HTTP ${response.status}`, details);
}

/** How a meeting is made. */
export interface CreateOptions extends ApiOptions {
  /** Encrypted end to end: nobody gets in without the secret, which `createSecret` makes and `urlWithSecret` puts into the link. */
  encrypted?: boolean;
  /**
   * Makes the request repeatable for a day: a random UUID. The same request under the same key answers with the same meeting and a fresh
   * ticket for its host, so whoever holds the key can come back as the host.
   */
  idempotencyKey?: string;
}

/** What the API tells of a meeting, as far as it tells the caller anything. */
export interface MeetingDescription {
  /** UUID. */
  meeting_id: string;
  /** Its name; may be empty. */
  display_name: string;
  /** Who is in it, at most two seconds ago. */
  participant_count: number;
  /** At a time. */
  max_participants: number;
  /** What it was created with. */
  settings: {
    /** Nobody gets in without the secret. */
    enable_e2e_encryption: boolean;
    /** Nobody gets in without an access token. */
    require_auth: boolean;
    /** What is said and shown may be recorded. */
    recording_enabled: boolean;
  };
  /** RFC 3339; absent while it goes on. */
  ended_at?: string;
}

/** Makes a meeting; the answer is a ticket for its host. */
export function createMeeting(displayName: string, options: CreateOptions = {}): Promise<CreatedMeeting> {
  const body = { display_name: displayName, ...(options.encrypted === true && { settings: { enable_e2e_encryption: true } }) };
  return ask("/api/v1/meetings", options, { method: "POST", body, key: options.idempotencyKey });
}

/** Looks at a meeting without joining it. A service that keeps its meetings to accounts refuses with `UNAUTHORIZED`. */
export function describeMeeting(meeting: string, options: ApiOptions = {}): Promise<MeetingDescription> {
  return ask(`/api/v1/meetings/${encodeURIComponent(meeting)}`, options, { method: "GET" });
}

/** `meeting`: the id, or the short code. */
export function requestJoin(meeting: string, displayName: string, options: ApiOptions = {}): Promise<JoinTicket> {
  const body = { display_name: displayName };
  return ask(`/api/v1/meetings/${encodeURIComponent(meeting)}/join`, options, { method: "POST", body });
}

/** Ends a meeting for everybody. `meeting`: the id, or the short code. Who may: its API client, or anybody where meetings need no account. */
export async function endMeeting(meeting: string, options: ApiOptions = {}): Promise<void> {
  await ask(`/api/v1/meetings/${encodeURIComponent(meeting)}`, options, { method: "DELETE" });
}
