// SFrame against the vectors of RFC 9605, and what must not be opened.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  decodeSFrameHeader,
  encodeSFrameHeader,
  SFrameError,
  sframeHeaderBytes,
  SFrameKey,
  type SFrameSuite,
} from "../client/src/sframe.ts";

declare const PROJECT_ROOT: string;

interface Vectors {
  headers: { kid: string; ctr: string; bytes: string }[];
  invalid_headers: { name: string; bytes: string }[];
  ciphertexts: { suite: SFrameSuite; kid: string; ctr: string; base_key: string; metadata: string; plain: string; ciphertext: string }[];
}

const vectors = JSON.parse(readFileSync(`${PROJECT_ROOT}/proto/vectors/sframe.json`, "utf8")) as Vectors;
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (from: Uint8Array): string => Buffer.from(from).toString("hex");

test("headers are those of RFC 9605, appendix C.1", () => {
  assert.ok(vectors.headers.length > 200);
  for (const vector of vectors.headers) {
    const kid = BigInt(vector.kid);
    const ctr = BigInt(vector.ctr);
    assert.equal(hex(encodeSFrameHeader(kid, ctr)), vector.bytes);
    assert.equal(sframeHeaderBytes(kid, ctr), vector.bytes.length / 2);
    assert.deepEqual(decodeSFrameHeader(bytes(`${vector.bytes}aa`)), { kid, ctr, length: vector.bytes.length / 2 });
  }
});

for (const vector of vectors.invalid_headers) {
  test(`refuses a header: ${vector.name}`, () => {
    assert.throws(() => decodeSFrameHeader(bytes(vector.bytes)), SFrameError);
  });
}

for (const vector of vectors.ciphertexts) {
  test(`seals and opens as RFC 9605, appendix C.3, with ${vector.suite}`, async () => {
    const ctr = BigInt(vector.ctr);
    const key = (use: "seal" | "open"): Promise<SFrameKey> =>
      SFrameKey.derive(vector.suite, BigInt(vector.kid), bytes(vector.base_key), use);
    const metadata = bytes(vector.metadata);
    assert.equal(hex(await (await key("seal")).seal(ctr, metadata, bytes(vector.plain))), vector.ciphertext);
    assert.equal(hex(await (await key("open")).open(ctr, metadata, bytes(vector.ciphertext))), vector.plain);
  });
}

test("any bit changed, in header, ciphertext or metadata, is refused; so is any end cut off", async () => {
  const metadata = new Uint8Array(46).fill(3);
  for (const ctr of [0n, 7n, 8n, 300n, 2n ** 40n]) {
    const baseKey = new Uint8Array(32).fill(9);
    const sealed = await (await SFrameKey.derive("AES_256_GCM_SHA512_128", 0n, baseKey, "seal")).seal(ctr, metadata, new Uint8Array(5));
    const key = await SFrameKey.derive("AES_256_GCM_SHA512_128", 0n, baseKey, "open");
    assert.deepEqual(await key.open(ctr, metadata, sealed), new Uint8Array(5));
    for (let bit = 0; bit < 8 * sealed.length; bit += 1) {
      const changed = sealed.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await assert.rejects(key.open(ctr, metadata, changed), SFrameError, `bit ${bit} of the ciphertext`);
    }
    for (let bit = 0; bit < 8 * metadata.length; bit += 1) {
      const changed = metadata.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await assert.rejects(key.open(ctr, changed, sealed), SFrameError, `bit ${bit} of the metadata`);
    }
    for (let end = 0; end < sealed.length; end += 1) {
      await assert.rejects(key.open(ctr, metadata, sealed.subarray(0, end)), SFrameError, `${end} bytes`);
    }
    await assert.rejects(key.open(ctr + 1n, metadata, sealed), SFrameError, "another counter than the one that was expected");
  }
});

test("a key that seals does not open, and the other way round", async () => {
  const baseKey = new Uint8Array(32);
  const sealer = await SFrameKey.derive("AES_256_GCM_SHA512_128", 0n, baseKey, "seal");
  const opener = await SFrameKey.derive("AES_256_GCM_SHA512_128", 0n, baseKey, "open");
  await assert.rejects(sealer.open(0n, baseKey, await sealer.seal(0n, baseKey, baseKey)));
  await assert.rejects(opener.seal(0n, baseKey, baseKey));
});
