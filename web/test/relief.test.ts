import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Relief } from "../client/src/worker/relief.ts";

const settled = () => new Promise((resolve) => setImmediate(resolve));

let isNeeded = true;
let taken: ReadableStream<VideoFrame>[] = [];
let closed = 0;

/** Another way to pictures. */
class Way {
  isCancelled = false;
  private controller!: ReadableStreamDefaultController<VideoFrame>;
  readonly frames = new ReadableStream<VideoFrame>(
    { start: (controller) => void (this.controller = controller), cancel: () => void (this.isCancelled = true) },
    { highWaterMark: 0 },
  );

  async shows(): Promise<void> {
    this.controller.enqueue({ close: () => (closed += 1) } as unknown as VideoFrame);
    await settled();
  }

  async ends(): Promise<void> {
    this.controller.close();
    await settled();
  }
}

const newRelief = () =>
  new Relief(
    () => isNeeded,
    (frames) => void taken.push(frames),
  );

async function waits(ms: number): Promise<void> {
  mock.timers.tick(ms);
  await settled();
}

beforeEach(() => {
  [isNeeded, taken, closed] = [true, [], 0];
  mock.timers.enable({ apis: ["setTimeout"] });
});

afterEach(() => mock.timers.reset());

test("what shows a picture that the first way does not is taken, a little later, with a picture of its own", async () => {
  const way = new Way();
  void newRelief().offer(way.frames);
  await waits(10_000);
  assert.deepEqual(taken, [], "it has shown nothing");
  await way.shows();
  assert.deepEqual([taken, closed], [[], 1], "the first way's picture may be on its way");
  await waits(1000);
  assert.deepEqual(taken, [way.frames]);
  const read = way.frames.getReader().read();
  await way.shows();
  assert.equal((await read).done, false, "it can be read");
  assert.deepEqual([way.isCancelled, closed], [false, 1]);
});

test("what is not needed is let go: before it was tried, and when the first way has a picture after all", async () => {
  const [early, late] = [new Way(), new Way()];
  isNeeded = false;
  void newRelief().offer(early.frames);
  await settled();
  assert.equal(early.isCancelled, true);
  isNeeded = true;
  void newRelief().offer(late.frames);
  await late.shows();
  isNeeded = false;
  await waits(1000);
  assert.deepEqual([late.isCancelled, taken, closed], [true, [], 1]);
});

test("it ends with the source, before a picture and behind one; a newer offer takes the place of an older", async () => {
  const ways = [new Way(), new Way(), new Way(), new Way()] as const;
  const relief = newRelief();
  void relief.offer(ways[0].frames);
  relief.end();
  void relief.offer(ways[1].frames);
  await ways[1].shows();
  relief.end();
  void relief.offer(ways[2].frames);
  void relief.offer(ways[3].frames);
  await waits(1000);
  assert.deepEqual(
    ways.map(({ isCancelled }) => isCancelled),
    [true, true, true, false],
  );
  assert.deepEqual(taken, []);
});

test("a way that ends or fails is none", async () => {
  const way = new Way();
  void newRelief().offer(way.frames);
  await way.ends();
  void newRelief().offer(new ReadableStream({ start: (controller) => controller.error(new Error("made up")) }));
  await waits(1000);
  assert.deepEqual(taken, []);
});
