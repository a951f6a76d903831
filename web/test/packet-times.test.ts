// Sound has the time of its capture, whatever the decoder says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PacketTimes } from "../client/src/packet-times.ts";

test("what comes out behind a pause and a loss has the time of what went in", () => {
  const times = new PacketTimes(50);
  const fed = [0, 20_000, 10_000_000, 10_040_000].map((captureUs, index) => ({ captureUs, afterLoss: index === 3 }));
  for (const packet of fed) times.fed(0, packet);
  assert.deepEqual(
    fed.map(() => times.given()),
    fed,
  );
  assert.equal(times.given(), undefined);
});

test("a packet that gave nothing does not shift those behind the next pause", () => {
  const times = new PacketTimes(50);
  times.fed(0, { captureUs: 0, afterLoss: false });
  times.fed(20, { captureUs: 20_000, afterLoss: false });
  times.given();
  times.fed(1000, { captureUs: 1_000_000, afterLoss: false });
  assert.equal(times.given()?.captureUs, 1_000_000);
});

test("what is remembered is bounded, and another decoder knows nothing", () => {
  const times = new PacketTimes(2);
  for (const captureUs of [1, 2, 3]) times.fed(0, { captureUs, afterLoss: false });
  assert.equal(times.given()?.captureUs, 2);
  times.clear();
  assert.equal(times.given(), undefined);
});
