// What this machine encodes and decodes, asked once. In: nothing. Out: lists of codecs, bitrates that suit a size.

import { CODEC_STRINGS, VIDEO_CODECS, type VideoCodec } from "../video-codecs.ts";
import type { StreamType } from "../types.ts";

/** A size that every encoder and chip takes. */
const PROBE = { width: 1280, height: 720, bitrate: 1_500_000, framerate: 30, latencyMode: "realtime" } as const;

/** What `VideoEncoder` is configured with besides sizes; H.264 travels as Annex B (DESIGN section 5). */
export function encoderFormat(codec: string): Pick<VideoEncoderConfig, "codec" | "avc"> {
  return codec.startsWith("avc") ? { codec, avc: { format: "annexb" } } : { codec };
}

async function encodes(codec: VideoCodec, hardwareAcceleration: HardwareAcceleration): Promise<boolean> {
  try {
    const config = { ...PROBE, ...encoderFormat(CODEC_STRINGS[codec]), hardwareAcceleration };
    return (await VideoEncoder.isConfigSupported(config)).supported === true;
  } catch {
    return false;
  }
}

async function decodes(codec: VideoCodec): Promise<boolean> {
  try {
    return (await VideoDecoder.isConfigSupported({ codec: CODEC_STRINGS[codec] })).supported === true;
  } catch {
    return false;
  }
}

async function those(holds: (codec: VideoCodec) => Promise<boolean>): Promise<VideoCodec[]> {
  const answers = await Promise.all(VIDEO_CODECS.map(holds));
  return VIDEO_CODECS.filter((_, index) => answers[index] === true);
}

export interface MachineCodecs {
  encodes: VideoCodec[];
  /** Of these, what it has a chip for. */
  hardware: VideoCodec[];
}

let machine: Promise<MachineCodecs> | undefined;
let decodable: Promise<VideoCodec[]> | undefined;

/** What can be encoded here; nothing where there is no `VideoEncoder`. */
export function machineCodecs(): Promise<MachineCodecs> {
  machine ??= (async () => {
    if (typeof VideoEncoder === "undefined") return { encodes: [], hardware: [] };
    const [any, hardware] = await Promise.all([
      those((codec) => encodes(codec, "no-preference")),
      those((codec) => encodes(codec, "prefer-hardware")),
    ]);
    return { encodes: any, hardware };
  })();
  return machine;
}

/** What is announced to the others. */
export function decodableCodecs(): Promise<VideoCodec[]> {
  decodable ??= typeof VideoDecoder === "undefined" ? Promise.resolve([]) : those(decodes);
  return decodable;
}

/** Bits per second: speech, and what is meant to be listened to. */
const SPEECH_BITRATE = 40_000;
const MUSIC_BITRATE = 96_000;
const PIXEL_RATE_BITS = 3.2;
const VIDEO_BITRATE_MIN = 300_000;
const VIDEO_BITRATE_MAX = 2_500_000;

/** Bits per second that suit the size: about 740 kb/s at 640×360, 2.5 Mb/s at 720p and above. */
export function defaultBitrate(type: StreamType, width: number, height: number, isMusic: boolean): number {
  if (type === "audio") return isMusic ? MUSIC_BITRATE : SPEECH_BITRATE;
  return Math.round(Math.min(VIDEO_BITRATE_MAX, Math.max(VIDEO_BITRATE_MIN, width * height * PIXEL_RATE_BITS)));
}
