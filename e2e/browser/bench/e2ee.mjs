// What end-to-end encryption costs a browser for each record: `npm run bench:e2ee`. The client's own code, in a Worker as in a meeting.
// Median microseconds for one record, sealed or opened one after another, and for eight on their way at once, as a burst is opened.
import { startBrowser } from "../support/browser.mjs";
import { bundle, startSite } from "../support/client.mjs";

/** An Opus packet; a delta and a key frame of 1 Mb/s at 30 a second; a key frame of 3 Mb/s. */
const PAYLOAD_BYTES = [150, 3_700, 30_000, 100_000];

const WORKER = `
import { Encryption } from "./worker/encryption.ts";
import { encodeFrameHeader } from "./frame.ts";

const STREAM = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
/** A clock of a worker is coarse: this many operations are timed together. */
const BATCH = 64;
const SAMPLES = 31;

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;

function headerOf(sequence: bigint, payloadLength: number): Uint8Array {
  return encodeFrameHeader({ kind: "video_delta", streamId: STREAM, timestampUs: 1n, sequence, payloadLength, flags: 1, reserved: new Uint8Array(6) });
}

/** Microseconds for each of BATCH operations, \`atOnce\` on their way at a time. */
async function time(atOnce: number, operation: (index: number) => Promise<unknown>): Promise<number> {
  const began = performance.now();
  for (let index = 0; index < BATCH; index += atOnce) {
    await Promise.all(Array.from({ length: atOnce }, (_, place) => operation(index + place)));
  }
  return ((performance.now() - began) * 1000) / BATCH;
}

async function measure(bytes: number): Promise<Record<string, number>> {
  const secret = crypto.getRandomValues(new Uint8Array(32));
  const meeting = crypto.randomUUID();
  const from = (await Encryption.of(secret.slice(), meeting)).sealer(STREAM);
  const to = (await Encryption.of(secret, meeting)).opener(STREAM);
  const plain = crypto.getRandomValues(new Uint8Array(Math.min(bytes, 65536)));
  const payload = new Uint8Array(bytes).map((_, index) => plain[index % plain.length] ?? 0);
  let next = 1n << 20n;
  const times: Record<string, number[]> = {};
  for (let sample = -3; sample < SAMPLES; sample += 1) {
    for (const atOnce of [1, 8]) {
      const first = next;
      next += BigInt(BATCH);
      const headers = Array.from({ length: BATCH }, (_, index) =>
        headerOf(first + BigInt(index), bytes + from.overheadBytes(first + BigInt(index))));
      const sealed: Uint8Array[] = [];
      const seal = await time(atOnce, async (index) => {
        sealed[index] = await from.seal(headers[index]!, first + BigInt(index), payload);
      });
      const open = await time(atOnce, (index) => to.open(headers[index]!, first + BigInt(index), sealed[index]!));
      // The first rounds warm up.
      if (sample < 0) continue;
      (times["seal " + atOnce] ??= []).push(seal);
      (times["open " + atOnce] ??= []).push(open);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]));
}

self.onmessage = async ({ data }) => self.postMessage(await measure(data));
`;

const site = await startSite({ "/": "<!doctype html><title>bench</title>", "/worker.js": await bundle(WORKER) });
const browser = await startBrowser();
try {
  const page = await browser.newPage();
  await page.goto(`${site.origin}/`);
  console.log(`Chromium ${browser.version()}, µs for each record (median)\n`);
  console.log(["payload", "seal", "open", "seal, 8 at once", "open, 8 at once"].map((it) => it.padStart(16)).join(""));
  for (const bytes of PAYLOAD_BYTES) {
    const row = await page.evaluate((size) => {
      const worker = new Worker("/worker.js", { type: "module" });
      return new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = (event) => reject(new Error(event.message));
        worker.postMessage(size);
      });
    }, bytes);
    const cells = ["seal 1", "open 1", "seal 8", "open 8"].map((name) => row[name].toFixed(1));
    console.log([`${bytes} B`, ...cells].map((it) => it.padStart(16)).join(""));
  }
} finally {
  await browser.close();
  await site.stop();
}
