// Starts `dark-tower` processes.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { start } from "./processes.mjs";

export const BIN = process.env.DARK_TOWER_BIN ?? fileURLToPath(new URL("../../../target/debug/dark-tower", import.meta.url));
const READY = "dark-tower dev: ready";
const READY_WITHIN_MS = 30_000;

/** `dark-tower dev` on free ports with a data folder of its own; `variables` go into its environment. */
export async function startDev(variables = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), "dark-tower-browser-"));
  const ports = ["--http-port", "--https-port", "--signaling-port", "--media-port", "--admin-port"].flatMap((flag) => [flag, "0"]);
  // One address asks for everybody here.
  const env = { ...process.env, DARK_TOWER__RATES__REQUESTS: "1000000", DARK_TOWER__RATES__ANONYMOUS_JOINS: "1000000", ...variables };
  const child = start(BIN, ["dev", ...ports, "--data-dir", dataDir], { env });
  const stop = async () => {
    await child.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    await child.said("that it is ready", READY_WITHIN_MS, (line) => line.includes(READY));
    const addresses = JSON.parse(await readFile(join(dataDir, "dev.json"), "utf8"));
    return { url: addresses.http_url.replace(/\/$/, ""), addresses, lines: child.lines, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** `dark-tower join`: a participant without a browser. */
export function startNative(meetingUrl, name, ...flags) {
  return start(BIN, ["join", "--url", meetingUrl, "--name", name, ...flags]);
}

/** Waits until somebody without a browser has joined and publishes. */
export const publishes = (native) => native.said("that it publishes", READY_WITHIN_MS, (line) => line.startsWith("publishing"));

/** Somebody with test patterns, such as "test:360p15" and "test:tone". */
export function startPattern(meetingUrl, name, ...patterns) {
  return startNative(meetingUrl, name, ...patterns.flatMap((pattern) => ["--publish", pattern]));
}
