// Whose turn it is. In: who is heard, and when. Out: the one to show large. Somebody who has the stage keeps it for a while, a cough takes it
// from nobody, and two who talk at once do not take turns by the syllable. Pure: time is an argument.

/** The shortest time on the stage: shorter changes are felt as flicker. */
export const HOLD_MS = 2000;
/** Longer than a cough, shorter than a word. */
export const START_MS = 400;
/** A pause for breath is no end. */
export const SILENCE_MS = 900;
/** Levels come ten times a second; whoever is not told of for so long is silent. */
const STALE_MS = 600;

interface Voice {
  /** When this turn of speaking began, and when it was last heard. */
  since: number;
  heard: number;
}

export class ActiveSpeaker {
  private readonly voices = new Map<string, Voice>();
  private holder: string | undefined;
  private heldSince = 0;

  /** Somebody is heard, or falls silent. Milliseconds of one clock, never going back. */
  hear(id: string, isSpeaking: boolean, nowMs: number): void {
    if (!isSpeaking) return;
    const voice = this.voices.get(id);
    // Syllables of one turn belong together.
    if (voice !== undefined && nowMs - voice.heard <= STALE_MS) voice.heard = nowMs;
    else this.voices.set(id, { since: nowMs, heard: nowMs });
  }

  /** Somebody left. */
  forget(id: string): void {
    this.voices.delete(id);
    if (this.holder === id) this.holder = undefined;
  }

  /** Who has the stage; stays with the last who spoke when all are silent. */
  at(nowMs: number): string | undefined {
    const current = this.holder === undefined ? undefined : this.voices.get(this.holder);
    if (this.holder !== undefined) {
      if (nowMs - this.heldSince < HOLD_MS) return this.holder;
      if (current !== undefined && nowMs - current.heard < SILENCE_MS) return this.holder;
    }
    let next: string | undefined;
    let longest = START_MS;
    for (const [id, voice] of this.voices) {
      if (nowMs - voice.heard > STALE_MS) continue;
      const turn = voice.heard - voice.since;
      if (turn >= longest && id !== this.holder) {
        next = id;
        longest = turn + 1;
      }
    }
    if (next !== undefined) {
      this.holder = next;
      this.heldSince = nowMs;
    }
    return this.holder;
  }
}
