// Whose pictures are received when only what is looked at is.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HIDDEN_GRACE_MS, VisiblePolicy } from "../client/src/visibility.ts";

const off = (streamId: string) => ({ streamId, isSubscribed: false });
const on = (streamId: string) => ({ streamId, isSubscribed: true });

test("what nobody looks at is left after the grace, what is looked at stays", () => {
  const policy = new VisiblePolicy();
  policy.published(0, "seen");
  policy.published(0, "unseen");
  policy.setWanted(100, "seen", true);
  assert.equal(policy.deadlineMs(), HIDDEN_GRACE_MS);
  assert.deepEqual(policy.due(HIDDEN_GRACE_MS - 1), []);
  assert.deepEqual(policy.due(HIDDEN_GRACE_MS), [off("unseen")]);
  assert.deepEqual(policy.due(1e6), []);
  assert.equal(policy.deadlineMs(), undefined);
});

test("a tile that comes back into sight is subscribed at once, one that goes by quickly never left", () => {
  const policy = new VisiblePolicy();
  policy.published(0, "a");
  policy.setWanted(0, "a", true);
  policy.setWanted(10_000, "a", false);
  policy.setWanted(11_000, "a", true);
  assert.deepEqual(policy.due(60_000), []);
  policy.setWanted(60_000, "a", false);
  assert.deepEqual(policy.due(60_000 + HIDDEN_GRACE_MS), [off("a")]);
  policy.setWanted(70_000, "a", true);
  assert.deepEqual(policy.due(70_000), [on("a")]);
});

test("what the application decided itself stands", () => {
  const policy = new VisiblePolicy();
  policy.published(0, "a");
  policy.pin("a", true);
  assert.deepEqual(policy.due(1e6), []);
});

test("a refused change is tried again, later", () => {
  const policy = new VisiblePolicy();
  policy.published(0, "a");
  const [change] = policy.due(HIDDEN_GRACE_MS);
  assert.ok(change !== undefined);
  policy.failed(HIDDEN_GRACE_MS, change);
  assert.deepEqual(policy.due(HIDDEN_GRACE_MS + 1), []);
  const retryAtMs = policy.deadlineMs();
  assert.ok(retryAtMs !== undefined && retryAtMs > HIDDEN_GRACE_MS);
  assert.deepEqual(policy.due(retryAtMs), [off("a")]);
});

test("a media stream that ended is forgotten", () => {
  const policy = new VisiblePolicy();
  policy.published(0, "a");
  policy.unpublished("a");
  policy.setWanted(0, "a", true);
  assert.deepEqual([policy.due(1e6), policy.deadlineMs()], [[], undefined]);
});
