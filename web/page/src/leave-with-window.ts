// Whoever closes the window, reloads or goes elsewhere has left, and is not missed for the seconds in which others might come back.

import type { Meeting } from "@dark-tower/client";

/** From the wish to go until the page goes, mostly; a page that stays all the same has its pictures back then. */
const HELD_MS = 2000;
/** So long the window stays for the worker to say goodbye: it ends with the window, and what it was told only then would not get out. */
const GOODBYE_MS = 100;

/** Leaves `meeting` when the page goes away; returns how to stop that. */
export function leaveWithWindow(meeting: Meeting): () => void {
  // A worker that waits for this thread in the moment in which it waits here hears nothing.
  const prepare = (): void => void meeting.holdPictures(HELD_MS).catch(() => undefined);
  const leave = (): void => {
    void meeting.leave();
    // Nothing that is waited for comes back to a page that goes away, so there is no other way to wait. Nobody sees this page any more.
    const untilMs = performance.now() + GOODBYE_MS;
    while (performance.now() < untilMs);
  };
  addEventListener("beforeunload", prepare);
  addEventListener("pagehide", leave);
  return () => {
    removeEventListener("beforeunload", prepare);
    removeEventListener("pagehide", leave);
  };
}
