// Starts `dark-tower` processes and ends them by their ids.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BIN = process.env.DARK_TOWER_BIN ?? fileURLToPath(new URL("../../../target/debug/dark-tower", import.meta.url));
const READY = "dark-tower dev: ready";
const READY_WITHIN_MS = 30_000;
const STOP_WITHIN_MS = 5_000;

/** Lines of a process, kept for the report of a failure. */
function collectLines(child) {
  const lines = [];
  const watchers = new Set();
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) {
        lines.push(line);
        if (lines.length > 500) lines.shift();
        for (const watcher of watchers) watcher(line);
      }
    });
  }
  return { lines, watchers };
}

function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once("exit", resolve));
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS);
  await ended(child);
  clearTimeout(timer);
}

/** `dark-tower dev` on free ports with a data folder of its own. */
export async function startDev() {
  const dataDir = await mkdtemp(join(tmpdir(), "dark-tower-browser-"));
  const ports = ["--http-port", "--https-port", "--signaling-port", "--media-port", "--admin-port"].flatMap((flag) => [flag, "0"]);
  // One address asks for everybody here.
  const env = { ...process.env, DARK_TOWER__RATES__REQUESTS: "1000000", DARK_TOWER__RATES__ANONYMOUS_JOINS: "1000000" };
  const child = spawn(BIN, ["dev", ...ports, "--data-dir", dataDir], { env, stdio: ["ignore", "pipe", "pipe"] });
  const output = collectLines(child);
  await new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${BIN} dev ${why}:\n${output.lines.join("\n")}`));
    const timer = setTimeout(() => fail(`was not ready within ${READY_WITHIN_MS} ms`), READY_WITHIN_MS);
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code) => fail(`ended with ${code}`));
    output.watchers.add((line) => {
      if (!line.includes(READY)) return;
      clearTimeout(timer);
      resolve();
    });
  });
  const addresses = JSON.parse(await readFile(join(dataDir, "dev.json"), "utf8"));
  return {
    url: addresses.http_url.replace(/\/$/, ""),
    addresses,
    lines: output.lines,
    async stop() {
      await stop(child);
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** `dark-tower join`: a participant without a browser. */
export function startNative(meetingUrl, name, ...flags) {
  const child = spawn(BIN, ["join", "--url", meetingUrl, "--name", name, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  const { lines } = collectLines(child);
  return { lines, isRunning: () => child.exitCode === null && child.signalCode === null, stop: () => stop(child) };
}
