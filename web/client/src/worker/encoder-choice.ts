// Which codec and bitrate a picture is encoded with, by what this machine can do.

import { DarkTowerError } from "../error.ts";
import type { StreamType } from "../types.ts";

/** VP9 costs about twice the time of VP8; with fewer cores than this it would take them from decoding. */
const VP9_CORES_MIN = 4;
const VP9 = "vp09.00.40.08";
const VP8 = "vp8";

/** The WebCodecs string of the codec to publish with. */
export async function chooseVideoCodec(width: number, height: number): Promise<string> {
  if (typeof VideoEncoder === "undefined") throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser has no VideoEncoder");
  const wanted = navigator.hardwareConcurrency >= VP9_CORES_MIN ? [VP9, VP8] : [VP8, VP9];
  for (const codec of wanted) {
    // A canvas may not say its size before its first picture.
    const size = { width: width || 640, height: height || 360 };
    const { supported } = await VideoEncoder.isConfigSupported({ codec, ...size, latencyMode: "realtime" });
    if (supported === true) return codec;
  }
  throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser encodes neither VP8 nor VP9");
}

const AUDIO_BITRATE = 40_000;
const PIXEL_RATE_BITS = 3.2;
const VIDEO_BITRATE_MIN = 300_000;
const VIDEO_BITRATE_MAX = 2_500_000;

/** Bits per second that suit the size: about 740 kb/s at 640×360, 2.5 Mb/s at 720p and above. */
export function defaultBitrate(type: StreamType, width: number, height: number): number {
  if (type === "audio") return AUDIO_BITRATE;
  return Math.round(Math.min(VIDEO_BITRATE_MAX, Math.max(VIDEO_BITRATE_MIN, width * height * PIXEL_RATE_BITS)));
}
