// Which packet of sound begins a group. In: when packets are sent. Out: yes or no. Pure.

/** A group of about a second at 20 ms a packet (DESIGN section 5). */
const GROUP_PACKETS = 50;
/** After so long without a packet the next one begins a group: the handler has closed the one before by then. */
const SILENCE_MS = 60;

export class AudioGroups {
  private packets = 0;
  private packetAtMs = -Infinity;

  /** Whether the packet that is sent now begins a group. */
  starts(nowMs: number): boolean {
    const starts = this.packets === 0 || this.packets >= GROUP_PACKETS || nowMs - this.packetAtMs > SILENCE_MS;
    this.packetAtMs = nowMs;
    this.packets = starts ? 1 : this.packets + 1;
    return starts;
  }

  /** The next packet begins a group whenever it comes. */
  restart(): void {
    this.packets = 0;
  }
}
