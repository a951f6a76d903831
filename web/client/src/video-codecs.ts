// Which codec a picture is published with. In: what those present decode, what this machine encodes, what the picture is. Out: one codec.
// Pure; a stated order, so that the same meeting always chooses alike.

import { codecName } from "./codec.ts";
import type { StreamType } from "./types.ts";

/** The contract's names, as participants announce them. */
export const VIDEO_CODECS = ["VP9", "AV1", "H264", "VP8"] as const;
export type VideoCodec = (typeof VIDEO_CODECS)[number];

/** WebCodecs strings: 8 bits, 4:2:0, a level that covers 1080p at 30. */
export const CODEC_STRINGS: Record<VideoCodec, string> = {
  VP9: "vp09.00.40.08",
  AV1: "av01.0.08M.08",
  H264: "avc1.42E028",
  VP8: "vp8",
};

/**
 * What a participant decodes that announces nothing: the two that every browser with WebCodecs has, and every recorder of ours. Who decodes
 * less says so.
 */
const UNANNOUNCED: readonly VideoCodec[] = ["VP9", "VP8"];

/** VP9 costs about twice the time of VP8, AV1 twice that again; with fewer cores it would be taken from decoding. */
const VP9_CORES_MIN = 4;
const AV1_CORES_MIN = 8;

export interface CodecSituation {
  type: StreamType;
  /** What each of the others decodes, as announced; an empty list: nothing was announced. */
  others: readonly (readonly string[])[];
  /** What this machine encodes. */
  encodes: readonly VideoCodec[];
  /** Of these, what it has a chip for. */
  hardware: readonly VideoCodec[];
  cores: number;
}

/** One of ours, by any of its names. */
export function videoCodec(name: string): VideoCodec | undefined {
  const short = codecName(name).toUpperCase();
  return VIDEO_CODECS.find((codec) => codec === short);
}

/** Whether somebody who announced `announced` decodes `codec`. */
export function decodes(announced: readonly string[], codec: VideoCodec): boolean {
  const known = announced.length === 0 ? UNANNOUNCED : announced.map(videoCodec);
  return known.includes(codec);
}

/** Best first, whatever the others can do. */
function preference({ type, hardware, cores }: CodecSituation): VideoCodec[] {
  const software: VideoCodec[] = cores >= VP9_CORES_MIN ? ["VP9", "VP8", "H264", "AV1"] : ["VP8", "H264", "VP9", "AV1"];
  // AV1's tools for text and flat areas halve what a screen costs; a camera's picture gains less than it takes.
  if (type === "screen" && cores >= AV1_CORES_MIN) software.unshift("AV1");
  // On a machine that is short of cores, a chip is worth more than the better codec.
  const chips = cores < VP9_CORES_MIN ? (["VP9", "AV1", "H264", "VP8"] as const).filter((codec) => hardware.includes(codec)) : [];
  return [...new Set([...chips, ...software])];
}

/**
 * The first in order of preference that everybody decodes; if there is none, the one that most do. `undefined`: this machine encodes none.
 */
export function chooseCodec(situation: CodecSituation): VideoCodec | undefined {
  return fewestMissed(situation, preference(situation));
}

/**
 * What to go over to where an encoder fails: `encodes` is what is left. VP8 goes before all others, for its encoder is software everywhere;
 * but not before somebody's picture.
 */
export function fallbackCodec(situation: CodecSituation): VideoCodec | undefined {
  return fewestMissed(situation, ["VP8", ...preference(situation)]);
}

function fewestMissed({ others, encodes }: CodecSituation, inOrder: readonly VideoCodec[]): VideoCodec | undefined {
  const possible = inOrder.filter((codec) => encodes.includes(codec));
  const missed = (codec: VideoCodec): number => others.filter((announced) => !decodes(announced, codec)).length;
  let best: VideoCodec | undefined;
  for (const codec of possible) if (best === undefined || missed(codec) < missed(best)) best = codec;
  return best;
}

/** No way back within this, so that somebody who comes and goes does not make everybody start anew each time. */
const SETTLED_MS = 60_000;

/** A change that the controller refused is tried again after so long. */
const REFUSED_WAIT_MS = 10_000;

/** When a publication goes over to another codec. */
export class CodecWatch {
  codec: VideoCodec;
  private changedAtMs: number;
  private notBeforeMs = -Infinity;

  constructor(codec: VideoCodec, nowMs: number) {
    this.codec = codec;
    this.changedAtMs = nowMs;
  }

  /**
   * People came or went: the codec to go over to, if one is worth it. At once when fewer would be left without a picture; for a better codec
   * only when the present one has lasted a minute. Call `moved` when it is done.
   */
  next(nowMs: number, situation: CodecSituation): VideoCodec | undefined {
    const wanted = chooseCodec(situation);
    if (wanted === undefined || wanted === this.codec || nowMs < this.notBeforeMs) return undefined;
    const missed = (codec: VideoCodec): number => situation.others.filter((announced) => !decodes(announced, codec)).length;
    if (missed(wanted) < missed(this.codec)) return wanted;
    return nowMs - this.changedAtMs >= SETTLED_MS && this.wasForced ? wanted : undefined;
  }

  moved(nowMs: number, codec: VideoCodec): void {
    this.codec = codec;
    this.changedAtMs = nowMs;
    this.wasForced = true;
  }

  /** The change was refused. */
  refused(nowMs: number): void {
    this.notBeforeMs = nowMs + REFUSED_WAIT_MS;
  }

  /** Only what was given up for somebody's sake is worth going back to. */
  private wasForced = false;
}
