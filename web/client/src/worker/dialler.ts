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

/** Alternates that are dialled: each is a handshake, and beyond a few nobody waits. */
export const ALTERNATES_MAX = 8;
/** Certificates that are trusted, the newest: those of a controller, its alternates and a handler, two each while they are renewed, and some before. */
export const HASHES_MAX = 64;
/** SHA-256; browsers refuse any other length. */
const HASH_BYTES = 32;

export function hashesFromBase64(hashes: readonly string[] | undefined): Uint8Array[] {
  return (hashes ?? []).map((text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
}

/** Where controllers and their certificates are, as far as is known by now. */
export class Addresses {
  controllerUrl = "";
  hashes: Uint8Array[] = [];
  private others: string[] = [];
  private fallbackUrls: string[] = [];
  private readonly plainOrigin: string;

  /** `plainOrigin`: of a page on plain HTTP, beside which `/ws` is served without TLS; else empty. */
  constructor(ticket: JoinTicket, plainOrigin: string) {
    this.plainOrigin = plainOrigin;
    this.follow(ticket);
  }

  /** Other controllers that serve the meeting, best first. */
  get alternates(): readonly string[] {
    return this.others;
  }

  set alternates(urls: readonly string[]) {
    this.others = [...new Set(urls)].filter((url) => url !== this.controllerUrl).slice(0, ALTERNATES_MAX);
  }

  /** What a new ticket says goes before what was known. Throws when it cannot be read. */
  follow(ticket: JoinTicket): void {
    this.controllerUrl = ticket.meeting_controller_url;
    this.alternates = [];
    this.hashes = [];
    try {
      this.learnHashes(hashesFromBase64(ticket.certificate_hashes));
    } catch {
      throw new DarkTowerError("INVALID_REQUEST", "a certificate hash of the ticket is not base64");
    }
    const beside = this.plainOrigin === "" ? [] : [`${this.plainOrigin.replace(/^http/, "ws")}/ws`];
    this.fallbackUrls = [...beside, ...(ticket.signaling_fallback_url ? [ticket.signaling_fallback_url] : [])];
  }

  learnHashes(hashes: readonly Uint8Array[]): void {
    const known = new Map(this.hashes.map((hash) => [String(hash), hash]));
    for (const hash of hashes.slice(0, HASHES_MAX)) {
      if (hash.length !== HASH_BYTES) continue;
      // Told again, it is among the newest again.
      known.delete(String(hash));
      known.set(String(hash), hash);
    }
    this.hashes = [...known.values()].slice(-HASHES_MAX);
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
