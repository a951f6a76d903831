// A microphone's level, as bars that move while one speaks. In: a track. Out: an element. It reads the track itself, since an audio context
// must not start before somebody has pressed something on the page.

import { element } from "./dom.ts";

const BARS = 12;
/** Quieter than this is silence for people, too. Decibels of full scale. */
const FLOOR_DB = -60;
/** Loud speech close to a microphone. */
const CEILING_DB = -12;
/** How much of the last level is left with each sound unit (10 ms): half of it after about 150 ms. */
const DECAY = 0.95;
/** Between two changes on screen: 20 a second look smooth. */
const DRAW_INTERVAL_MS = 50;

/** 0 for silence to 1 for loud speech. */
export function meterLevel(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const rms = Math.sqrt(sum / Math.max(1, samples.length));
  const decibels = 20 * Math.log10(Math.max(rms, 1e-9));
  return Math.min(1, Math.max(0, (decibels - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
}

type AudioProcessor = new (options: { track: MediaStreamTrack }) => { readonly readable: ReadableStream<AudioData> };

export class LevelMeter {
  readonly view: HTMLElement;
  private readonly bars: HTMLElement[];
  private reader: ReadableStreamDefaultReader<AudioData> | undefined;
  private copy: MediaStreamTrack | undefined;
  private original: MediaStreamTrack | undefined;
  private level = 0;
  private drawnAtMs = 0;

  constructor() {
    this.bars = Array.from({ length: BARS }, () => element("span", {}));
    this.view = element(
      "div",
      {
        class: "meter",
        testid: "level-meter",
        attributes: { role: "meter", "aria-label": "Microphone level", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" },
      },
      ...this.bars,
    );
  }

  /** Shows this track's level from now on; none: silence. */
  follow(track: MediaStreamTrack | undefined): void {
    if (track === this.original) return;
    this.stop();
    this.original = track;
    const { MediaStreamTrackProcessor: Processor } = globalThis as { MediaStreamTrackProcessor?: AudioProcessor };
    if (track === undefined || Processor === undefined) return;
    this.copy = track.clone();
    this.reader = new Processor({ track: this.copy }).readable.getReader();
    void this.read(this.reader);
  }

  stop(): void {
    void this.reader?.cancel().catch(() => undefined);
    this.copy?.stop();
    this.reader = undefined;
    this.copy = undefined;
    this.original = undefined;
    this.level = 0;
    this.draw();
  }

  private async read(reader: ReadableStreamDefaultReader<AudioData>): Promise<void> {
    for (;;) {
      const { value, done } = await reader.read().catch(() => ({ value: undefined, done: true as const }));
      if (done || reader !== this.reader) {
        value?.close();
        return;
      }
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      value.close();
      this.level = Math.max(meterLevel(samples), this.level * DECAY);
      const nowMs = performance.now();
      if (nowMs - this.drawnAtMs < DRAW_INTERVAL_MS) continue;
      this.drawnAtMs = nowMs;
      this.draw();
    }
  }

  private draw(): void {
    const lit = Math.round(this.level * BARS);
    for (const [index, bar] of this.bars.entries()) bar.classList.toggle("lit", index < lit);
    this.view.setAttribute("aria-valuenow", String(Math.round(this.level * 100)));
  }
}
