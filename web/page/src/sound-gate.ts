// Browsers keep a page silent until somebody has pressed something. In: whether the meeting is heard. Out: a line with a button while it is not.

import type { Meeting } from "@dark-tower/client";
import { element } from "./dom.ts";

export function soundGate(meeting: Meeting): HTMLElement {
  const place = element("div", { class: "sound-gate", testid: "sound-gate", attributes: { role: "status" } });
  const show = (): void => {
    const isBlocked = meeting.audio.value === "blocked";
    if (isBlocked === place.childElementCount > 0) return;
    const hear = element(
      "button",
      { class: "primary", attributes: { type: "button" }, on: { click: () => void meeting.resumeAudio() } },
      "Hear the others",
    );
    place.replaceChildren(...(isBlocked ? [element("span", {}, "Your browser keeps this meeting silent."), hear] : []));
  };
  meeting.audio.subscribe(show);
  show();
  return place;
}
