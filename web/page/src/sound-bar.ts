// Browsers play no sound before somebody has pressed something on the page. Where that holds the meeting's sound back, a calm bar says so, and its
// button is what was missing.

import type { Meeting } from "@dark-tower/client";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";

export function soundBar(meeting: Meeting): HTMLElement {
  const turnOn = element(
    "button",
    { testid: "resume-audio", attributes: { type: "button" }, on: { click: () => void meeting.resumeAudio().catch(() => undefined) } },
    "Turn sound on",
  );
  const words = element("p", {}, "Your browser holds the sound of this meeting back.");
  const bar = element("div", { class: "notice calm", testid: "sound-blocked" }, icon("loudspeaker"), words, turnOn);
  const place = element("div", { attributes: { role: "status" } });
  const show = (): void => place.replaceChildren(...(meeting.audio.value === "blocked" ? [bar] : []));
  meeting.audio.subscribe(show);
  show();
  return place;
}
