// What everyone should know of this meeting, at its head.

import type { Meeting } from "@dark-tower/client";
import { element } from "./dom.ts";
import { encryptionMark } from "./encryption.ts";

export function meetingMarks(meeting: Meeting): HTMLElement[] {
  const { mayBeRecorded } = meeting.info;
  const recorded = element(
    "span",
    { class: "pill mark", testid: "may-be-recorded", attributes: { title: "What is said, shown and written here may be recorded." } },
    "May be recorded",
  );
  return [...(mayBeRecorded ? [recorded] : []), ...(meeting.encryption === undefined ? [] : [encryptionMark(meeting.encryption)])];
}
