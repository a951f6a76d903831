// Frames from one thread to another, one at a time and without a copy. In: a stream of frames on one side of a MessagePort. Out: the same
// stream on the other. A stream that is transferred whole clones its frames, which leaves the pictures on the sending side open; here each
// frame is handed over, and only when the other side asks for it. What is on its way when either side ends is closed.

import type { EncodedFrame } from "./types.ts";

/** What passes: pictures, samples, or what is encoded already. */
export type PortFrame = VideoFrame | AudioData | EncodedFrame;

type ToReceiver = { kind: "frame"; frame: PortFrame } | { kind: "end" } | { kind: "failure"; message: string };
type ToSender = "pull" | "look" | "cancel";

/** A frame that can be handed over, and what is handed over with it. An encoded one is copied, for its bytes may be part of something larger. */
function parcel(frame: PortFrame): { frame: PortFrame; transfer: Transferable[] } {
  if (!("data" in frame)) return { frame, transfer: [frame] };
  const data = frame.data.slice();
  return { frame: { ...frame, data }, transfer: [data.buffer] };
}

function letGo(frame: PortFrame): void {
  if (!("data" in frame)) frame.close();
}

/** Sends what `frames` gives to `port`, at the receiver's pace. Ends with either side. `look` is called when the receiver nudges. */
export function sendFrames(frames: ReadableStream<PortFrame>, port: MessagePort, look?: () => void): void {
  const reader = frames.getReader();
  let isCancelled = false;
  const say = (message: ToReceiver, transfer: Transferable[] = []): void => port.postMessage(message, transfer);
  const pull = async (): Promise<void> => {
    try {
      const { value, done } = await reader.read();
      if (isCancelled) {
        if (!done) letGo(value);
        return;
      }
      if (done) {
        say({ kind: "end" });
        return;
      }
      const { frame, transfer } = parcel(value);
      say({ kind: "frame", frame }, transfer);
    } catch (thrown) {
      say({ kind: "failure", message: thrown instanceof Error ? thrown.message : String(thrown) });
    }
  };
  port.onmessage = ({ data }: MessageEvent<ToSender>) => {
    if (data === "pull") {
      void pull();
    } else if (data === "look") {
      look?.();
    } else {
      isCancelled = true;
      reader.cancel().catch(() => undefined);
      // Behind the last frame: the receiver closes that one, and the port.
      say({ kind: "end" });
    }
  };
}

/** The other end: what `sendFrames` sends to `port`. Whoever reads closes the frames. Nudges the sender each `lookIntervalMs` while it waits. */
export function receiveFrames(port: MessagePort, lookIntervalMs?: number): ReadableStream<PortFrame> {
  let arrived: (() => void) | undefined;
  let looking: ReturnType<typeof setInterval> | undefined;
  const say = (message: ToSender): void => port.postMessage(message);
  const waitsNoMore = (): void => {
    clearInterval(looking);
    arrived?.();
  };
  return new ReadableStream<PortFrame>(
    {
      start(controller) {
        port.onmessage = ({ data }: MessageEvent<ToReceiver>) => {
          if (data.kind === "frame") {
            controller.enqueue(data.frame);
          } else {
            if (data.kind === "end") controller.close();
            else controller.error(new Error(data.message));
            port.close();
          }
          waitsNoMore();
        };
      },
      pull() {
        const next = new Promise<void>((resolve) => (arrived = resolve));
        say("pull");
        if (lookIntervalMs !== undefined) looking = setInterval(() => say("look"), lookIntervalMs);
        return next;
      },
      cancel() {
        say("cancel");
        port.onmessage = ({ data }: MessageEvent<ToReceiver>) => {
          if (data.kind === "frame") letGo(data.frame);
          else port.close();
        };
        waitsNoMore();
      },
    },
    // Nothing is fetched ahead: a picture that waits here would only grow old.
    { highWaterMark: 0 },
  );
}
