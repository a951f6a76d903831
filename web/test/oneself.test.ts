// What a join token says of its bearer.
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeOneself, type OwnState } from "../client/src/oneself.ts";

const token = (claims: unknown): string => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;
const own = (joinToken: string, displayName = "Ana"): OwnState => ({
  participantId: "id",
  joinToken,
  displayName,
  joinedAt: 7,
  isMuted: true,
  isVideoOn: false,
  streams: [],
});

test("name and role are the token's, as at the controller", () => {
  const check = (claims: unknown, displayName: string, name: string, role: string): void => {
    const me = describeOneself(own(token(claims), displayName));
    assert.deepEqual([me.name, me.role], [name, role]);
  };
  check({ name: "Zoë ☕", role: "host" }, "Ana", "Zoë ☕", "host");
  check({ name: "", role: "attendee" }, "Ana", "Ana", "attendee");
  check({ role: "host" }, " ", "Host", "host");
  check({}, "", "Guest", "attendee");
  check({ name: 5, role: 7 }, "Ana", "Ana", "attendee");
  check(null, "Ana", "Ana", "attendee");
});

test("a token that cannot be read says nothing", () => {
  for (const text of ["", "x", "a.b.c", "a.!!!.c", "."]) {
    const me = describeOneself(own(text));
    assert.deepEqual([me.name, me.role, me.participantId, me.isMuted, me.joinedAt], ["Ana", "attendee", "id", true, 7]);
  }
});
