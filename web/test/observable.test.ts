// Values that change, and who is told.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Source } from "../client/src/observable.ts";

test("listeners hear of changes, not of what is there already, and not of the same value again", () => {
  const source = new Source(1);
  const heard: number[] = [];
  const stop = source.subscribe((value) => heard.push(value));
  source.set(1);
  source.set(2);
  source.set(2);
  stop();
  source.set(3);
  assert.deepEqual(heard, [2]);
  assert.equal(source.value, 3);
});

test("a listener may end another while both are called", () => {
  const source = new Source("a");
  const heard: string[] = [];
  const stops: (() => void)[] = [];
  stops.push(source.subscribe(() => stops[1]?.()));
  stops.push(source.subscribe((value) => heard.push(value)));
  source.set("b");
  assert.deepEqual(heard, []);
});

test("the same function twice is called twice, and ended one by one", () => {
  const source = new Source(0);
  let calls = 0;
  const listener = (): void => void (calls += 1);
  const stop = source.subscribe(listener);
  source.subscribe(listener);
  source.set(1);
  stop();
  source.set(2);
  assert.equal(calls, 3);
});
