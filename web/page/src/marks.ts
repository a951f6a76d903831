// What everyone should know of this meeting, at its head.

import type { Meeting } from "@dark-tower/client";
import { element } from "./dom.ts";

function mark(testid: string, text: string, title: string): HTMLElement {
  return element("span", { class: "pill mark", testid, attributes: { title } }, text);
}

export function meetingMarks(meeting: Meeting): HTMLElement[] {
  const { mayBeRecorded, wantsEndToEndEncryption } = meeting.info;
  return [
    ...(mayBeRecorded ? [mark("may-be-recorded", "May be recorded", "What is said, shown and written here may be recorded.")] : []),
    ...(wantsEndToEndEncryption
      ? [
          mark(
            "wants-encryption",
            "End-to-end encryption asked for",
            "Whoever made this meeting asked for end-to-end encryption. This page does not do that yet: the servers can see and hear this meeting.",
          ),
        ]
      : []),
  ];
}
