// Keeps one media session with whatever handler the controller names: dials ahead, replaces it when it breaks, falls silent or is to move, make
// before break. In: media server infos. Out: the session to publish on now. Never decides which handler, and never gives up.

import { backoffMs } from "../backoff.ts";
import { DarkTowerError } from "../error.ts";
import type { MediaServerInfo } from "../generated/darktower/v1/signaling_pb.ts";
import { Silence, SILENCE_CHECK_INTERVAL_MS } from "../silence.ts";
import { dialWebTransport } from "./channel.ts";
import { MediaSession, type MediaSessionEvents } from "./media-session.ts";

/** An old session goes on receiving for so long after the new one stands, so that groups under way arrive. */
const LINGER_MS = 1000;
/** Between two attempts, before jitter: the meeting goes on meanwhile, and a handler that is there again is told of. */
const WAIT_MAX_MS = 10_000;
/** Without a session for so long, people are told. */
const LOST_AFTER_MS = 3000;

export type MediaState = "connected" | "connecting" | "lost";

export interface MediaLinkEvents extends Omit<MediaSessionEvents, "ended"> {
  /** Asks the controller for a handler, not the one that failed. */
  requestServer(failedUrl: string): Promise<MediaServerInfo>;
  /** Publish on the new session from a key frame on. */
  moved(): void;
  state(state: MediaState): void;
}

export class MediaLink {
  session: MediaSession | undefined;
  private readonly events: MediaLinkEvents;
  private readonly hashes: () => Uint8Array[];
  private readonly online = (): void => this.wake?.();
  private readonly watch: ReturnType<typeof setInterval>;
  private silence = new Silence(performance.now());
  private ahead: { url: string; transport: Promise<WebTransport> } | undefined;
  /** Counts the reasons to look for a session: whoever works for an older one stops. */
  private turn = 0;
  /** The turn is there because the session in use fell silent; should it speak again, it stays. */
  private isBySilence = false;
  private isSearching = false;
  private wake: (() => void) | undefined;
  private closed = false;

  constructor(hashes: () => Uint8Array[], events: MediaLinkEvents) {
    this.hashes = hashes;
    this.events = events;
    this.watch = setInterval(() => this.look(), SILENCE_CHECK_INTERVAL_MS);
    addEventListener("online", this.online);
  }

  /** Dials the likely handler while the join is still under way. */
  dialAhead(url: string): void {
    this.dropAhead();
    const transport = dialWebTransport(url, this.hashes());
    transport.catch(() => undefined);
    this.ahead = { url, transport };
  }

  /** After a resume: the session at hand stays if it is with the handler named. */
  confirm(info: MediaServerInfo): void {
    const { session } = this;
    if (session === undefined || session.isOver || session.url !== info.mediaHandlerUrl || this.isBySilence) this.use(info);
  }

  /** Goes to the handler that the controller named; a session at hand goes on until the new one stands. */
  use(info: MediaServerInfo): void {
    void this.search(info, "");
  }

  close(): void {
    this.closed = true;
    this.turn += 1;
    clearInterval(this.watch);
    removeEventListener("online", this.online);
    this.wake?.();
    this.session?.close();
    this.dropAhead();
  }

  private dropAhead(): void {
    this.ahead?.transport.then((transport) => transport.close()).catch(() => undefined);
    this.ahead = undefined;
  }

  private look(): void {
    const { session } = this;
    if (session === undefined || session.isOver) return;
    const isSilent = this.silence.check(session.heardAtMs, performance.now());
    if (isSilent && !this.isSearching) {
      this.isBySilence = true;
      void this.search(undefined, session.url);
    } else if (!isSilent && this.isBySilence) {
      this.settle();
      this.events.state("connected");
    }
  }

  private ended(session: MediaSession): void {
    if (this.closed || session !== this.session) return;
    // A search that is under way because it fell silent, or because it is to move, goes on at once.
    this.isBySilence = false;
    if (this.isSearching) this.wake?.();
    else void this.search(undefined, session.url);
  }

  /** Nobody looks for a session any more. */
  private settle(): void {
    this.turn += 1;
    this.isSearching = false;
    this.isBySilence = false;
    this.wake?.();
  }

  /** Goes to the handler named, or asks for one other than the failed, until a session stands or there is a newer turn. */
  private async search(named: MediaServerInfo | undefined, failedUrl: string): Promise<void> {
    const { isBySilence } = this;
    this.settle();
    this.isSearching = true;
    this.isBySilence = isBySilence && named === undefined;
    const { turn } = this;
    const sinceMs = performance.now();
    let info = named;
    let failed = failedUrl;
    this.tell(sinceMs);
    for (let attempt = 1; turn === this.turn; attempt += 1) {
      try {
        info ??= await this.events.requestServer(failed);
        if (turn !== this.turn) return;
        if (await this.open(info, turn)) return;
      } catch (thrown) {
        if (DarkTowerError.from(thrown).code === "ENDED") return;
        failed = info?.mediaHandlerUrl ?? "";
        info = undefined;
      }
      if (turn !== this.turn) return;
      this.tell(sinceMs);
      await this.wait(backoffMs(attempt, Math.random(), WAIT_MAX_MS));
    }
  }

  private tell(sinceMs: number): void {
    const stands = this.session !== undefined && !this.session.isOver && !this.isBySilence;
    const isLong = performance.now() - sinceMs >= LOST_AFTER_MS;
    this.events.state(stands ? "connected" : isLong ? "lost" : "connecting");
  }

  /** Waits, but no longer than until there is a network again or a newer turn. */
  private wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        if (this.wake === done) this.wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.wake = done;
    });
  }

  private async transport(url: string): Promise<WebTransport> {
    const { ahead } = this;
    if (ahead?.url === url) {
      this.ahead = undefined;
      return ahead.transport;
    }
    this.dropAhead();
    return dialWebTransport(url, this.hashes());
  }

  /** False: it stands, and nobody wants it any more. */
  private async open(info: MediaServerInfo, turn: number): Promise<boolean> {
    const url = info.mediaHandlerUrl;
    const transport = await this.transport(url);
    const session = new MediaSession(url, transport, {
      ...this.handlers(),
      // One that lingers does not know what is taken from its successor.
      paused: (streamId, paused) => {
        if (session === this.session) this.events.paused(streamId, paused);
      },
      ended: () => this.ended(session),
    });
    try {
      if (turn === this.turn) await session.open(info.connectionToken);
    } catch (thrown) {
      session.close();
      throw thrown;
    }
    if (turn !== this.turn) {
      session.close();
      return false;
    }
    const before = this.session;
    this.session = session;
    this.silence = new Silence(performance.now());
    this.settle();
    this.events.state("connected");
    this.events.moved();
    if (before !== undefined) setTimeout(() => before.close(), LINGER_MS);
    // It may be over before it was the one in use.
    if (session.isOver) this.ended(session);
    return true;
  }

  private handlers(): Omit<MediaSessionEvents, "ended" | "paused"> {
    const { events } = this;
    return {
      sink: (streamId) => events.sink(streamId),
      cipher: (streamId) => events.cipher(streamId),
      undecryptable: (streamId) => events.undecryptable(streamId),
      keyFrame: (streamId) => events.keyFrame(streamId),
      report: (report) => events.report(report),
    };
  }
}
