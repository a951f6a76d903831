// Finds a way to a controller: WebTransport first, then WebSocket. In: URLs. Out: a channel that stands, or why none does.

import { DarkTowerError } from "../error.ts";
import type { JoinTicket } from "../types.ts";
import { type Channel, dialWebSocket, dialWebTransport, webTransportChannel } from "./channel.ts";

export function hashesFromBase64(hashes: readonly string[] | undefined): Uint8Array[] {
  return (hashes ?? []).map((text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
}

/** Where controllers and their certificates are, as far as is known by now. */
export class Addresses {
  controllerUrl: string;
  hashes: Uint8Array[];
  alternates: string[] = [];
  private readonly fallbackUrls: string[];

  /** `plainOrigin`: of a page on plain HTTP, beside which `/ws` is served without TLS; else empty. */
  constructor(ticket: JoinTicket, plainOrigin: string) {
    this.controllerUrl = ticket.meeting_controller_url;
    this.hashes = hashesFromBase64(ticket.certificate_hashes);
    const beside = plainOrigin === "" ? [] : [`${plainOrigin.replace(/^http/, "ws")}/ws`];
    this.fallbackUrls = [...beside, ...(ticket.signaling_fallback_url ? [ticket.signaling_fallback_url] : [])];
  }

  learnHashes(hashes: Uint8Array[]): void {
    const known = new Set(this.hashes.map(String));
    for (const hash of hashes) if (!known.has(String(hash))) this.hashes.push(hash);
  }

  /** Dials the controller, then its alternates, then what needs no UDP. */
  async dial(): Promise<Channel> {
    let first: DarkTowerError | undefined;
    for (const url of [this.controllerUrl, ...this.alternates]) {
      try {
        return await webTransportChannel(await dialWebTransport(url, this.hashes));
      } catch (thrown) {
        first ??= DarkTowerError.from(thrown, "CONNECTION_FAILED");
      }
    }
    for (const url of this.fallbackUrls) {
      try {
        return await dialWebSocket(url);
      } catch {
        // The first failure says more.
      }
    }
    throw first ?? new DarkTowerError("CONNECTION_FAILED", "there is no address to dial");
  }
}
