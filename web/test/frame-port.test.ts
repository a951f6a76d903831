import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { receiveFrames, sendFrames } from "../client/src/frame-port.ts";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A picture; a port of the test hands it over as it is. */
class Picture {
  isClosed = false;
  close(): void {
    this.isClosed = true;
  }
}

/** One end of a channel whose messages wait until the test delivers them. */
class End {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  isClosed = false;
  other!: End;
  readonly waiting: unknown[] = [];

  postMessage(message: unknown): void {
    if (!this.isClosed) this.other.waiting.push(message);
  }

  close(): void {
    this.isClosed = true;
  }

  async deliver(): Promise<void> {
    for (const data of this.waiting.splice(0)) this.onmessage?.({ data });
    await turn();
  }
}

class Source {
  isCancelled = false;
  private controller!: ReadableStreamDefaultController<VideoFrame>;
  readonly frames = new ReadableStream<VideoFrame>(
    { start: (controller) => void (this.controller = controller), cancel: () => void (this.isCancelled = true) },
    { highWaterMark: 0 },
  );

  async gives(picture: Picture): Promise<void> {
    this.controller.enqueue(picture as unknown as VideoFrame);
    await turn();
  }
}

function world(look?: () => void, lookIntervalMs?: number) {
  const [near, far] = [new End(), new End()];
  [near.other, far.other] = [far, near];
  const source = new Source();
  sendFrames(source.frames, near as unknown as MessagePort, look);
  const reader = receiveFrames(far as unknown as MessagePort, lookIntervalMs).getReader();
  return { near, far, source, reader };
}

test("pictures go one at a time, when they are asked for", async () => {
  const { near, far, source, reader } = world();
  const [first, second] = [new Picture(), new Picture()];
  await turn();
  assert.deepEqual(near.waiting, []);
  const read = reader.read();
  await near.deliver();
  await source.gives(first);
  await source.gives(second);
  await far.deliver();
  assert.equal((await read).value, first);
  await turn();
  assert.deepEqual([near.waiting, far.waiting], [[], []], "none is on its way that nobody asked for");
  const next = reader.read();
  await near.deliver();
  await far.deliver();
  assert.equal((await next).value, second);
  assert.deepEqual([first.isClosed, second.isClosed], [false, false], "they are the reader's");
});

test("a picture that is on its way when the receiver ends is closed, and both ends are over", async () => {
  const { near, far, source, reader } = world();
  const picture = new Picture();
  const read = reader.read();
  await near.deliver();
  await source.gives(picture);
  await reader.cancel();
  assert.equal((await read).done, true);
  await near.deliver();
  await far.deliver();
  assert.deepEqual([picture.isClosed, source.isCancelled, far.isClosed], [true, true, true]);
});

test("a picture that the source gives just as the receiver ends is closed", async () => {
  const { near, far, source, reader } = world();
  const picture = new Picture();
  void reader.read();
  await near.deliver();
  const given = source.gives(picture);
  await Promise.all([reader.cancel(), near.deliver(), given]);
  await far.deliver();
  assert.deepEqual([picture.isClosed, source.isCancelled, far.isClosed], [true, true, true]);
});

test("who waits nudges the sender, and nobody else does", async () => {
  mock.timers.enable({ apis: ["setInterval"] });
  try {
    let looks = 0;
    const { near, far, source, reader } = world(() => void (looks += 1), 33);
    const later = async (ms: number) => {
      mock.timers.tick(ms);
      await near.deliver();
      return looks;
    };
    assert.equal(await later(330), 0);
    const read = reader.read();
    await turn();
    assert.equal(await later(330), 10);
    await source.gives(new Picture());
    await far.deliver();
    await read;
    assert.equal(await later(330), 10);
    void reader.read();
    await turn();
    await later(33);
    await reader.cancel();
    assert.equal(await later(330), 11);
  } finally {
    mock.timers.reset();
  }
});
