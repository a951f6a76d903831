// The messages on the wire against the golden vectors that the Rust side reads too.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { createRegistry, fromBinary, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import { file_darktower_v1_media } from "../client/src/generated/darktower/v1/media_pb.ts";
import { file_darktower_v1_signaling } from "../client/src/generated/darktower/v1/signaling_pb.ts";

declare const PROJECT_ROOT: string;

interface Vector {
  name: string;
  type: string;
  bytes: string;
  json: JsonValue;
}

const registry = createRegistry(file_darktower_v1_signaling, file_darktower_v1_media);
const directory = `${PROJECT_ROOT}/proto/vectors`;
const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
type File = { messages?: Vector[]; lenient?: Vector[]; invalid?: Omit<Vector, "json">[] };
const read = files.map((name) => JSON.parse(readFileSync(`${directory}/${name}`, "utf8")) as File);
const vectors = read.flatMap((file) => file.messages ?? []);

test("there are vectors", () => assert.ok(vectors.length > 0));

for (const { name, type, bytes, json } of vectors) {
  const schema = registry.getMessage(type);
  if (schema === undefined) continue;
  test(`reads and writes ${name}`, () => {
    const message = fromJson(schema, json);
    assert.deepEqual(fromBinary(schema, Uint8Array.from(Buffer.from(bytes, "hex"))), message);
    assert.equal(Buffer.from(toBinary(schema, message)).toString("hex"), bytes);
  });
}

for (const { name, type, bytes, json } of read.flatMap((file) => file.lenient ?? [])) {
  const schema = registry.getMessage(type);
  if (schema === undefined) continue;
  test(`understands ${name}`, () => {
    assert.deepEqual(
      toJson(schema, fromBinary(schema, Uint8Array.from(Buffer.from(bytes, "hex")))),
      toJson(schema, fromJson(schema, json)),
    );
  });
}

for (const { name, type, bytes } of read.flatMap((file) => file.invalid ?? [])) {
  const schema = registry.getMessage(type);
  if (schema === undefined) continue;
  test(`refuses ${name}`, () => {
    assert.throws(() => fromBinary(schema, Uint8Array.from(Buffer.from(bytes, "hex"))));
  });
}
