// What the way to the handler is like at the moment, for everything that is published. In: the media session at hand, figures of the
// controller. Out: signs for the encoders. Asks the handler for the time several times a second; each session begins anew.

import { UplinkDelay } from "../uplink-delay.ts";
import type { MediaSession } from "./media-session.ts";
import type { PathSigns } from "./video-publication.ts";

/** The controller repeats its figures every two seconds; older ones are of another time. */
const FIGURES_FRESH_MS = 5000;

export class UplinkPath {
  private readonly delay = new UplinkDelay();
  private session: MediaSession | undefined;
  private figures = { atMs: -Infinity, loss: 0, available: 0 };

  /** Asks again, on the session at hand. */
  probe(nowMs: number, session: MediaSession | undefined): void {
    if (session !== this.session) {
      this.session = session;
      this.delay.reset();
      if (session !== undefined) {
        session.onPong = (sentAtMs, receivedAtMs) => {
          if (session === this.session) this.delay.answered(performance.now(), sentAtMs, receivedAtMs);
        };
      }
    }
    if (session === undefined || session.isOver) return;
    this.delay.sent(nowMs);
    session.probe(nowMs);
  }

  /** What the handler measured on our connection, as the controller tells it. */
  told(nowMs: number, loss: number, available: number): void {
    this.figures = { atMs: nowMs, loss, available };
  }

  signs(nowMs: number): PathSigns {
    const { atMs, loss, available } = this.figures;
    const queueMs = this.delay.queueMs(nowMs);
    return nowMs - atMs <= FIGURES_FRESH_MS ? { queueMs, loss, available } : { queueMs, loss: 0, available: 0 };
  }
}
