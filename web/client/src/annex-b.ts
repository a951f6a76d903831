// What an H.264 byte stream says of itself (ITU-T H.264, annex B). In: a key frame. Out: the codec string a decoder is configured with.

/** NAL unit type of a sequence parameter set. */
const SPS = 7;
/** A parameter set stands at the front; a picture behind it need not be searched. */
const SEARCHED_BYTES = 512;

/** `avc1.PPCCLL` of the first sequence parameter set: profile, constraints, level; `undefined` if there is none. */
export function avcCodec(keyFrame: Uint8Array): string | undefined {
  const end = Math.min(keyFrame.length - 6, SEARCHED_BYTES);
  for (let at = 0; at < end; at += 1) {
    if (keyFrame[at] !== 0 || keyFrame[at + 1] !== 0 || keyFrame[at + 2] !== 1) continue;
    if (((keyFrame[at + 3] ?? 0) & 0x1f) !== SPS) continue;
    const hex = [...keyFrame.subarray(at + 4, at + 7)].map((byte) => byte.toString(16).padStart(2, "0"));
    return `avc1.${hex.join("").toUpperCase()}`;
  }
  return undefined;
}
