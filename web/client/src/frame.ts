// The 46-byte media frame header, and records out of the bytes of a QUIC stream (seed contract, section 3.2; DESIGN section 5).
// In: bytes. Out: headers and whole frames, or exactly why not. Never knows a transport.

import { uuidFromBytes, uuidToBytes } from "./uuid.ts";

/** Length of the header, in bytes. */
export const FRAME_HEADER_BYTES = 46;
/** The version this code speaks; also the first byte by which a media stream tells itself. */
export const FRAME_VERSION = 1;
/** Largest payload of a record: 4 MiB (DESIGN section 5). */
export const PAYLOAD_BYTES_MAX = 4 * 1024 * 1024;
/** Largest frame put together from several records; a second such payload is more than any picture here needs. */
export const FRAME_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;

/** Bit 0: the record ends an encoded frame. */
export const FLAG_END_OF_FRAME = 1;
/** Bit 1: no other frame needs this one. */
export const FLAG_DISCARDABLE = 2;

export type FrameKind = "audio" | "video_key" | "video_delta";
const KINDS: readonly FrameKind[] = ["audio", "video_key", "video_delta"];

export interface FrameHeader {
  kind: FrameKind;
  /** Of the media stream or its layer. */
  streamId: string;
  /** Microseconds since the epoch by the publisher's clock. */
  timestampUs: bigint;
  /** Counts the records of one stream id, +1 each, across reconnects and handlers. */
  sequence: bigint;
  payloadLength: number;
  /** 16 bits; the reserved ones are kept. */
  flags: number;
  /** Six bytes, passed on unread. */
  reserved: Uint8Array;
}

/** What can be wrong with 46 bytes, in the order in which it is looked at. */
export type FrameFault = "truncated" | "version" | "kind" | "length";

export class FrameError extends Error {
  override readonly name = "FrameError";
  readonly fault: FrameFault;

  constructor(fault: FrameFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

/** Reads the first 46 of `bytes`. Throws a `FrameError`. */
export function decodeFrameHeader(bytes: Uint8Array, payloadBytesMax = PAYLOAD_BYTES_MAX): FrameHeader {
  if (bytes.length < FRAME_HEADER_BYTES) {
    throw new FrameError("truncated", `a frame header is 46 bytes, only ${bytes.length} came`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, FRAME_HEADER_BYTES);
  const version = view.getUint8(0);
  if (version !== FRAME_VERSION) throw new FrameError("version", `frame version ${version} is not spoken here; 1 is`);
  const kind = KINDS[view.getUint8(1)];
  if (kind === undefined) {
    const found = view.getUint8(1).toString(16).padStart(2, "0");
    throw new FrameError("kind", `frame type 0x${found} is none of 0x00 (audio), 0x01 (video key), 0x02 (video delta)`);
  }
  const payloadLength = view.getUint32(34);
  if (payloadLength > payloadBytesMax) {
    throw new FrameError("length", `a payload of ${payloadLength} bytes is over the limit of ${payloadBytesMax}`);
  }
  return {
    kind,
    streamId: uuidFromBytes(bytes, 2),
    timestampUs: view.getBigUint64(18),
    sequence: view.getBigUint64(26),
    payloadLength,
    flags: view.getUint16(38),
    reserved: bytes.slice(40, 46),
  };
}

/** Writes the header to the first 46 bytes of `out`, which the payload may follow. */
export function encodeFrameHeader(header: FrameHeader, out: Uint8Array = new Uint8Array(FRAME_HEADER_BYTES)): Uint8Array {
  const view = new DataView(out.buffer, out.byteOffset, FRAME_HEADER_BYTES);
  view.setUint8(0, FRAME_VERSION);
  view.setUint8(1, KINDS.indexOf(header.kind));
  out.set(uuidToBytes(header.streamId), 2);
  view.setBigUint64(18, header.timestampUs);
  view.setBigUint64(26, header.sequence);
  view.setUint32(34, header.payloadLength);
  view.setUint16(38, header.flags);
  out.set(header.reserved, 40);
  return out;
}

/** A header and its payload, as they travelled. */
export interface MediaRecord {
  header: FrameHeader;
  /** The header's 46 bytes, as received. */
  headerBytes: Uint8Array;
  payload: Uint8Array;
}

/** Splits the bytes of one QUIC stream into records while they arrive; holds one part record at most. */
export class RecordReader {
  private readonly payloadBytesMax: number;
  private readonly headerBytes = new Uint8Array(FRAME_HEADER_BYTES);
  private headerFilled = 0;
  private header: FrameHeader | undefined;
  private pieces: Uint8Array[] = [];
  private payloadLeft = 0;

  constructor(payloadBytesMax = PAYLOAD_BYTES_MAX) {
    this.payloadBytesMax = payloadBytesMax;
  }

  /** Hands in what was read; returns the records that it completes. Throws a `FrameError`, after which the stream is of no use. */
  push(bytes: Uint8Array): MediaRecord[] {
    const records: MediaRecord[] = [];
    let at = 0;
    while (at < bytes.length) {
      if (this.header === undefined) {
        const take = Math.min(FRAME_HEADER_BYTES - this.headerFilled, bytes.length - at);
        this.headerBytes.set(bytes.subarray(at, at + take), this.headerFilled);
        this.headerFilled += take;
        at += take;
        if (this.headerFilled < FRAME_HEADER_BYTES) break;
        this.header = decodeFrameHeader(this.headerBytes, this.payloadBytesMax);
        this.payloadLeft = this.header.payloadLength;
      } else {
        const take = Math.min(this.payloadLeft, bytes.length - at);
        this.pieces.push(bytes.slice(at, at + take));
        this.payloadLeft -= take;
        at += take;
      }
      if (this.payloadLeft === 0) records.push(this.end(this.header));
    }
    return records;
  }

  private end(header: FrameHeader): MediaRecord {
    const payload = joined(this.pieces, header.payloadLength);
    this.header = undefined;
    this.headerFilled = 0;
    this.pieces = [];
    return { header, headerBytes: this.headerBytes.slice(), payload };
  }
}

/** One encoded picture or sound unit, whole. */
export interface Frame {
  kind: FrameKind;
  streamId: string;
  timestampUs: bigint;
  /** Of its first record. */
  sequence: bigint;
  /** Of its last record; the next frame's is one more. */
  lastSequence: bigint;
  payload: Uint8Array;
}

/** Joins the records of one QUIC stream into frames; holds one part frame at most. */
export class FrameJoiner {
  private first: FrameHeader | undefined;
  private pieces: Uint8Array[] = [];
  private piecesBytes = 0;
  /** A record of the present frame was lost: the rest of it is of no use. */
  private isBroken = false;
  /** A picture was lost: those up to the next key frame are of no use. */
  private needsKey = false;

  /** Takes the next record, with its payload as it was before it was sealed; the frame that it completes. Throws a `FrameError`. */
  push(header: FrameHeader, payload: Uint8Array): Frame | undefined {
    const ends = (header.flags & FLAG_END_OF_FRAME) !== 0;
    if (this.isBroken) {
      this.isBroken = !ends;
      return undefined;
    }
    this.piecesBytes += payload.length;
    if (this.piecesBytes > FRAME_BYTES_MAX) {
      throw new FrameError("length", `a frame of ${this.piecesBytes} bytes is over the limit of ${FRAME_BYTES_MAX}`);
    }
    this.first ??= header;
    this.pieces.push(payload);
    if (!ends) return undefined;
    const { kind, streamId, timestampUs, sequence } = this.first;
    const whole = joined(this.pieces, this.piecesBytes);
    this.drop();
    if (kind === "video_key") this.needsKey = false;
    if (this.needsKey) return undefined;
    return { kind, streamId, timestampUs, sequence, lastSequence: header.sequence, payload: whole };
  }

  /** The next record came, and is not to be used: its frame is dropped, and pictures up to the next key frame. */
  lose(header: FrameHeader): void {
    this.drop();
    this.isBroken = (header.flags & FLAG_END_OF_FRAME) === 0;
    if (header.kind !== "audio") this.needsKey = true;
  }

  private drop(): void {
    this.first = undefined;
    this.pieces = [];
    this.piecesBytes = 0;
  }
}

/** Splits the bytes of one QUIC stream into frames while they arrive; holds one part frame at most. */
export class FrameReader {
  private readonly records: RecordReader;
  private readonly joiner = new FrameJoiner();

  constructor(payloadBytesMax = PAYLOAD_BYTES_MAX) {
    this.records = new RecordReader(payloadBytesMax);
  }

  /** Hands in what was read; returns the frames that it completes. Throws a `FrameError`, after which the stream is of no use. */
  push(bytes: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    for (const { header, payload } of this.records.push(bytes)) {
      const frame = this.joiner.push(header, payload);
      if (frame !== undefined) frames.push(frame);
    }
    return frames;
  }
}

function joined(pieces: Uint8Array[], length: number): Uint8Array {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  const out = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
