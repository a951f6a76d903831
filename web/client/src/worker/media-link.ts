// Keeps one media session with whatever handler the controller names: dials ahead, replaces it when it breaks or is to move,
// make before break. In: media server infos. Out: the session to publish on now. Never decides which handler.

import { backoffMs } from "../backoff.ts";
import { DarkTowerError } from "../error.ts";
import type { MediaServerInfo } from "../generated/darktower/v1/signaling_pb.ts";
import { dialWebTransport } from "./channel.ts";
import { delay } from "./deadline.ts";
import { MediaSession, type MediaSessionEvents } from "./media-session.ts";

/** An old session goes on receiving for so long after the new one stands, so that groups under way arrive. */
const LINGER_MS = 1000;
/** About half a minute of trying; then the meeting goes on without media until the controller names a handler again. */
const ATTEMPTS_MAX = 15;

export interface MediaLinkEvents extends Omit<MediaSessionEvents, "ended"> {
  /** Asks the controller for a handler, not the one that failed. */
  requestServer(failedUrl: string): Promise<MediaServerInfo>;
  /** Publish on the new session from a key frame on. */
  moved(): void;
  state(state: "connected" | "connecting" | "lost"): void;
}

export class MediaLink {
  session: MediaSession | undefined;
  private readonly events: MediaLinkEvents;
  private readonly hashes: () => Uint8Array[];
  private ahead: { url: string; transport: Promise<WebTransport> } | undefined;
  private attempt = 0;
  private recovering = false;
  private closed = false;

  constructor(hashes: () => Uint8Array[], events: MediaLinkEvents) {
    this.hashes = hashes;
    this.events = events;
  }

  /** Dials the likely handler while the join is still under way. */
  dialAhead(url: string): void {
    const transport = dialWebTransport(url, this.hashes());
    transport.catch(() => undefined);
    this.ahead = { url, transport };
  }

  /** After a resume: the session at hand stays if it is with the handler named. */
  async confirm(info: MediaServerInfo): Promise<void> {
    if (this.session?.url !== info.mediaHandlerUrl || this.session.isOver) await this.use(info);
  }

  /** Goes to the handler that the controller named; a session at hand goes on until the new one stands. */
  async use(info: MediaServerInfo): Promise<void> {
    try {
      await this.open(info);
    } catch {
      await this.recover(info.mediaHandlerUrl);
    }
  }

  close(): void {
    this.closed = true;
    this.session?.close();
    this.dropAhead();
  }

  private dropAhead(): void {
    this.ahead?.transport.then((transport) => transport.close()).catch(() => undefined);
    this.ahead = undefined;
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

  private async open(info: MediaServerInfo): Promise<void> {
    this.events.state(this.session === undefined || this.session.isOver ? "connecting" : "connected");
    const url = info.mediaHandlerUrl;
    const transport = await this.transport(url);
    const session = new MediaSession(url, transport, { ...this.handlers(), ended: () => this.ended(session) });
    try {
      await session.open(info.connectionToken);
    } catch (thrown) {
      session.close();
      throw thrown;
    }
    if (this.closed) {
      session.close();
      return;
    }
    const before = this.session;
    this.session = session;
    this.attempt = 0;
    this.events.state("connected");
    this.events.moved();
    if (before !== undefined) setTimeout(() => before.close(), LINGER_MS);
  }

  private handlers(): Omit<MediaSessionEvents, "ended"> {
    return {
      sink: (streamId) => this.events.sink(streamId),
      cipher: (streamId) => this.events.cipher(streamId),
      undecryptable: (streamId) => this.events.undecryptable(streamId),
      keyFrame: (streamId) => this.events.keyFrame(streamId),
      paused: (streamId, paused) => this.events.paused(streamId, paused),
      report: (report) => this.events.report(report),
    };
  }

  private ended(session: MediaSession): void {
    if (this.closed || session !== this.session) return;
    void this.recover("");
  }

  /** Asks for a handler and goes there, until one stands. */
  private async recover(failedUrl: string): Promise<void> {
    if (this.recovering || this.closed) return;
    this.recovering = true;
    let failed = failedUrl;
    this.events.state("connecting");
    try {
      while (!this.closed && this.attempt < ATTEMPTS_MAX) {
        await delay(backoffMs(this.attempt, Math.random()));
        this.attempt += 1;
        let info: MediaServerInfo;
        try {
          info = await this.events.requestServer(failed);
        } catch (thrown) {
          const { code } = DarkTowerError.from(thrown);
          if (code === "ENDED") return;
          failed = "";
          continue;
        }
        try {
          await this.open(info);
          return;
        } catch {
          failed = info.mediaHandlerUrl;
        }
      }
      if (!this.closed) this.events.state("lost");
    } finally {
      this.recovering = false;
      this.attempt = 0;
    }
  }
}
