// Finds a way to a controller: WebTransport to the one that was named, then to its alternates, then a WebSocket where UDP does not pass, each
// begun a little after the one before. In: addresses as they become known. Out: a channel that stands.

import { DarkTowerError } from "../error.ts";
import type { JoinTicket } from "../types.ts";
import { type Channel, dialWebSocket, dialWebTransport, webTransportChannel } from "./channel.ts";
import { race } from "./race.ts";

/** A controller that is there stands within three round trips; an alternate is asked a little later, but no worse. */
const ALTERNATE_AFTER_MS = 700;
/** WebTransport is the better way: a WebSocket gives it this head start. */
const WEBSOCKET_AFTER_MS = 1000;

export function hashesFromBase64(hashes: readonly string[] | undefined): Uint8Array[] {
  return (hashes ?? []).map((text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
}

/** Where controllers and their certificates are, as far as is known by now. */
export class Addresses {
  controllerUrl = "";
  hashes: Uint8Array[] = [];
  alternates: string[] = [];
  private fallbackUrls: string[] = [];
  private readonly plainOrigin: string;

  /** `plainOrigin`: of a page on plain HTTP, beside which `/ws` is served without TLS; else empty. */
  constructor(ticket: JoinTicket, plainOrigin: string) {
    this.plainOrigin = plainOrigin;
    this.follow(ticket);
  }

  /** What a new ticket says goes before what was known. Throws when it cannot be read. */
  follow(ticket: JoinTicket): void {
    this.controllerUrl = ticket.meeting_controller_url;
    this.alternates = [];
    try {
      this.hashes = hashesFromBase64(ticket.certificate_hashes);
    } catch {
      throw new DarkTowerError("INVALID_REQUEST", "a certificate hash of the ticket is not base64");
    }
    const beside = this.plainOrigin === "" ? [] : [`${this.plainOrigin.replace(/^http/, "ws")}/ws`];
    this.fallbackUrls = [...beside, ...(ticket.signaling_fallback_url ? [ticket.signaling_fallback_url] : [])];
  }

  learnHashes(hashes: Uint8Array[]): void {
    const known = new Set(this.hashes.map(String));
    for (const hash of hashes) if (!known.has(String(hash))) this.hashes.push(hash);
  }

  /** A channel to whoever answers first. Rejects with what the controller that was named said. */
  dial(): Promise<Channel> {
    const { hashes } = this;
    const udp = [this.controllerUrl, ...this.alternates].map((url, index) => ({
      afterMs: index * ALTERNATE_AFTER_MS,
      start: async () => webTransportChannel(await dialWebTransport(url, hashes)),
    }));
    const tcp = this.fallbackUrls.map((url) => ({ afterMs: WEBSOCKET_AFTER_MS, start: () => dialWebSocket(url) }));
    const inOrder = [...udp, ...tcp].sort((a, b) => a.afterMs - b.afterMs);
    return race(inOrder, (channel) => channel.close("NORMAL", "another way was faster"));
  }
}
