// Codec names: the contract's ("VP9", "Opus") and WebCodecs strings. What stands before the first dot counts, case-blind.

/** WebCodecs strings for names without a profile: 8 bits, 4:2:0, a level that covers 1080p at 30. */
const DECODERS: Record<string, string> = {
  vp8: "vp8",
  vp9: "vp09.00.40.08",
  vp09: "vp09.00.40.08",
  av1: "av01.0.08M.08",
  av01: "av01.0.08M.08",
  h264: "avc1.42E028",
  avc1: "avc1.42E028",
  avc3: "avc1.42E028",
  opus: "opus",
};

const NAMES: Record<string, string> = { vp8: "VP8", vp09: "VP9", av01: "AV1", avc1: "H264", opus: "Opus" };

function stem(codec: string): string {
  return codec.split(".", 1)[0]?.toLowerCase() ?? "";
}

/** The WebCodecs string to decode `codec` with; `undefined` for what no browser decodes. */
export function decoderCodec(codec: string): string | undefined {
  const known = DECODERS[stem(codec)];
  return known !== undefined && codec.includes(".") ? codec : known;
}

/** The contract's name of a WebCodecs string. */
export function codecName(codec: string): string {
  return NAMES[stem(codec)] ?? codec;
}
