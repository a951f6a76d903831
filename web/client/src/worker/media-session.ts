// One media session with a handler: hello, control messages, groups out, groups in. In: a standing WebTransport session and a
// token. Out: frames with the group they belong to. Never decodes or encodes media.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";

import type { RecordCipher } from "../cipher.ts";
import { codeNumber, type Code } from "../code.ts";
import { DarkTowerError } from "../error.ts";
import { type Frame, FrameJoiner, type MediaRecord, RecordReader } from "../frame.ts";
import {
  MediaClientMessageSchema,
  type MediaServerMessage,
  MediaServerMessageSchema,
  type SubscriptionReport,
} from "../generated/darktower/v1/media_pb.ts";
import { MessageReader, withLength } from "../length-prefix.ts";
import { endOf, type End } from "./channel.ts";
import { within } from "./deadline.ts";
import { errorFromWire } from "./signaling.ts";

const PROTOCOL_VERSION = 1;
/** The first byte of a control stream; media streams begin with a frame header's version. */
const CONTROL_STREAM = Uint8Array.of(0);
const WELCOME_TIMEOUT_MS = 5000;
/** Three fit into a silence (`SILENCE_MS`): one may be lost on the way, two in a row hardly. */
const PING_INTERVAL_MS = 500;

/** Where frames of one media stream go. */
export interface FrameSink {
  push(group: bigint, frame: Frame): void;
  /** The stream of this group is over, whole or reset. */
  end(group: bigint): void;
}

export interface MediaSessionEvents {
  /** The sink of a frame id; `undefined` once it is sure that nobody wants it. */
  sink(streamId: string): Promise<FrameSink | undefined>;
  /** What opens the records of a frame id; `undefined`: they travel in the clear. */
  cipher(streamId: string): RecordCipher | undefined;
  /** A record of this id could not be opened, and was dropped. */
  undecryptable(streamId: string): void;
  /** The handler asks the publisher of this id for a key frame. */
  keyFrame(streamId: string): void;
  /** Nobody takes this id any more, or somebody does again. */
  paused(streamId: string, paused: boolean): void;
  /** Why a subscription gets what it gets: on change, at most once a second. */
  report(report: SubscriptionReport): void;
  ended(end: End): void;
}

/** The error that resets or stops a stream with a code that the other side reads. */
export function streamError(code: Code): WebTransportError {
  // Chromium takes one dictionary, the specification a message and options.
  const init = { message: code, streamErrorCode: codeNumber(code) };
  try {
    return new WebTransportError(init as unknown as string);
  } catch {
    return new WebTransportError(code, init);
  }
}

export class MediaSession {
  readonly url: string;
  /** When the last bytes came, by `performance.now()`. */
  heardAtMs = performance.now();
  private readonly transport: WebTransport;
  private readonly events: MediaSessionEvents;
  private control: WritableStreamDefaultWriter<Uint8Array> | undefined;
  /** Set by whoever probes: when it was sent by our clock, and when the handler had it by its own. */
  onPong: (sentAtMs: number, receivedAtMs: number) => void = () => undefined;
  private over = false;
  private pings: ReturnType<typeof setInterval> | undefined;
  private welcomed: (() => void) | undefined;
  private refused: ((error: DarkTowerError) => void) | undefined;

  constructor(url: string, transport: WebTransport, events: MediaSessionEvents) {
    this.url = url;
    this.transport = transport;
    this.events = events;
  }

  get isOver(): boolean {
    return this.over;
  }

  /** Says hello and waits for the welcome; media may flow both ways right behind the hello. */
  async open(connectionToken: string): Promise<void> {
    const welcome = new Promise<void>((resolve, reject) => {
      this.welcomed = resolve;
      this.refused = reject;
    });
    welcome.catch(() => undefined);
    void endOf(this.transport).then((end) => this.end(end));
    void this.acceptGroups();
    const stream = await this.transport.createBidirectionalStream();
    this.control = stream.writable.getWriter();
    // As below: a failed write is an end of the session.
    this.control.write(CONTROL_STREAM).catch(() => undefined);
    void this.readControl(stream.readable as ReadableStream<Uint8Array>);
    this.send({ case: "hello", value: { connectionToken } });
    await within(WELCOME_TIMEOUT_MS, "the handler's welcome", welcome);
    this.pings = setInterval(() => this.ping(), PING_INTERVAL_MS);
  }

  requestKeyFrame(streamId: string): void {
    this.send({ case: "keyFrame", value: { streamId } });
  }

  /** Asks the handler when it hears this; `onPong` tells. */
  probe(nowMs: number): void {
    this.send({ case: "ping", value: { sentAtUs: BigInt(Math.round(nowMs * 1000)) } });
  }

  /** A stream for one group of ours. */
  async openGroup(): Promise<WritableStreamDefaultWriter<Uint8Array>> {
    const stream = await this.transport.createUnidirectionalStream();
    return stream.getWriter();
  }

  close(): void {
    try {
      this.transport.close({ closeCode: 0, reason: "" });
    } catch {
      // Over already.
    }
    this.end({ code: "NORMAL", message: "closed here" });
  }

  private send(body: MessageInitShape<typeof MediaClientMessageSchema>["body"]): void {
    const message = create(MediaClientMessageSchema, { version: PROTOCOL_VERSION, body });
    // A failed write is an end of the session, and told as that.
    this.control?.write(withLength(toBinary(MediaClientMessageSchema, message))).catch(() => undefined);
  }

  /** So that something comes back even when nobody is watched. */
  private ping(): void {
    this.send({ case: "ping", value: { sentAtUs: BigInt(Math.round(performance.now() * 1000)) } });
  }

  private async readControl(readable: ReadableStream<Uint8Array>): Promise<void> {
    const reader = readable.getReader();
    const messages = new MessageReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        this.heardAtMs = performance.now();
        for (const message of messages.push(value)) this.receive(fromBinary(MediaServerMessageSchema, message));
      }
    } catch {
      // Broken off, or no protobuf.
    }
    // Without control a session is of no use.
    this.close();
  }

  private receive(message: MediaServerMessage): void {
    const { body } = message;
    if (body.case === "welcome") this.welcomed?.();
    else if (body.case === "keyFrame") this.events.keyFrame(body.value.streamId);
    else if (body.case === "layerControl") this.events.paused(body.value.streamId, body.value.paused);
    else if (body.case === "report") this.events.report(body.value);
    else if (body.case === "pong") this.onPong(Number(body.value.sentAtUs) / 1000, Number(body.value.receivedAtUs) / 1000);
    else if (body.case === "error") this.refused?.(errorFromWire(body.value));
  }

  private async acceptGroups(): Promise<void> {
    const reader = (this.transport.incomingUnidirectionalStreams as ReadableStream<ReadableStream<Uint8Array>>).getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        void this.readGroup(value);
      }
    } catch {
      // The session is over, and says so itself.
    }
  }

  private async readGroup(readable: ReadableStream<Uint8Array>): Promise<void> {
    const reader = readable.getReader();
    const records = new RecordReader();
    const joiner = new FrameJoiner();
    let sink: FrameSink | undefined;
    let cipher: RecordCipher | undefined;
    let group: bigint | undefined;
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        this.heardAtMs = performance.now();
        const complete = records.push(value);
        const [first] = complete;
        if (first === undefined) continue;
        if (sink === undefined) {
          sink = await this.events.sink(first.header.streamId);
          if (sink === undefined) {
            await reader.cancel(streamError("NOT_FOUND"));
            return;
          }
          cipher = this.events.cipher(first.header.streamId);
        }
        // Side by side, and taken up in their order; nothing more is read before, so what waits is what one read brought.
        const payloads = cipher === undefined ? undefined : await Promise.all(complete.map((record) => opened(cipher, record)));
        for (const [index, { header, payload }] of complete.entries()) {
          const plain = payloads === undefined ? payload : payloads[index];
          if (plain === undefined) {
            joiner.lose(header);
            this.events.undecryptable(header.streamId);
            continue;
          }
          const frame = joiner.push(header, plain);
          if (frame === undefined) continue;
          if (group === undefined || frame.kind === "video_key") {
            if (group !== undefined) sink.end(group);
            group = frame.sequence;
          }
          sink.push(group, frame);
        }
      }
    } catch {
      // Reset as too late, the session's end, or bytes that are no frames: what came whole is given out already.
      reader.cancel(streamError("STREAM_ERROR")).catch(() => undefined);
    }
    if (group !== undefined) sink?.end(group);
  }

  private end(end: End): void {
    if (this.over) return;
    this.over = true;
    clearInterval(this.pings);
    this.refused?.(new DarkTowerError(end.code === undefined || end.code === "NORMAL" ? "CONNECTION_LOST" : end.code, end.message));
    this.events.ended(end);
  }
}

/** The payload of a record as it was before it was sealed; `undefined`: it cannot be opened. */
function opened(cipher: RecordCipher | undefined, { header, headerBytes, payload }: MediaRecord): Promise<Uint8Array | undefined> {
  if (cipher === undefined) return Promise.resolve(payload);
  return cipher.open(headerBytes, header.sequence, payload).catch(() => undefined);
}
