// What passes between the worker and the audio worklet, and what the window tells the worklet.

/** Where samples come from; or that nobody listens any more. */
export type ToMixer = { port: MessagePort } | { over: true };

/** Samples of a media stream, how much longer it has to wait for pictures, or its end. */
export type ToWorklet =
  | { streamId: string; captureMs: number; afterLoss: boolean; channels: Float32Array[] }
  | { streamId: string; waitsMs: number }
  | { streamId: string; ended: true };

/** How one media stream stands in the loudspeaker's buffer. Counts are from the start. */
export interface SoundReport {
  streamId: string;
  /** What the loudspeaker is given next was captured then; `undefined` while nothing is heard. */
  captureMs: number | undefined;
  targetMs: number;
  heldMs: number;
  gaps: number;
  gapMs: number;
  droppedMs: number;
}

/** Some times a second; `contextMs` is the loudspeaker's time that the reports are of. */
export interface FromWorklet {
  contextMs: number;
  reports: SoundReport[];
}
