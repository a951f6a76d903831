// Child processes: listened to line by line, ended by their ids, and never left behind, however a test ends.
import { spawn } from "node:child_process";

const STOP_WITHIN_MS = 5_000;
/** Kept for the report of a failure. */
const LINES_MAX = 500;

const running = new Set();
// A test runner that gives up ends this process; its children go with it.
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Starts a program; `said` waits for a line that it writes, on either output. */
export function start(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
  running.add(child);
  const exited = new Promise((resolve) => child.once("close", resolve));
  void exited.then(() => running.delete(child));
  // Told by `said`, or by whoever looks at the lines.
  child.once("error", () => running.delete(child));
  child.stdin?.on("error", () => undefined);
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
        if (lines.length > LINES_MAX) lines.shift();
        for (const watcher of watchers) watcher(line);
      }
    });
  }
  const name = [program, ...args].join(" ");
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  return {
    pid: child.pid,
    lines,
    isRunning,
    /** Writes a line to its standard input. */
    say: (line) => child.stdin.write(`${line}\n`),
    /** The first line from now on that `is` takes. */
    said(what, withinMs, is) {
      return new Promise((resolve, reject) => {
        const settle = (then, value) => {
          clearTimeout(timer);
          watchers.delete(look);
          then(value);
        };
        const fail = (why) => settle(reject, new Error(`${name} ${why}:\n${lines.join("\n")}`));
        const look = (line) => is(line) && settle(resolve, line);
        const timer = setTimeout(() => fail(`did not say ${what} within ${withinMs} ms`), withinMs);
        watchers.add(look);
        child.once("error", (error) => fail(error.message));
        child.once("exit", (code, signal) => fail(`ended with ${code ?? signal}`));
      });
    },
    /** At once, as a crash. */
    async kill() {
      if (isRunning()) child.kill("SIGKILL");
      await exited;
    },
    /** In order, and by force if that takes too long. */
    async stop() {
      if (!isRunning()) return;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}

/**
 * Waits until everything that a suite stands on has started. `starting` are promises of things that can be closed or stopped; should one fail, the others
 * are ended. The answer has them by name, and `close()`, which ends them all.
 */
export async function stand(starting) {
  const names = Object.keys(starting);
  const outcomes = await Promise.allSettled(Object.values(starting));
  const started = outcomes.filter((outcome) => outcome.status === "fulfilled").map((outcome) => outcome.value);
  const close = async () => {
    await Promise.all(started.map((it) => (it.close ?? it.stop ?? it.remove).call(it)));
  };
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed) {
    await close();
    throw failed.reason;
  }
  return { ...Object.fromEntries(names.map((name, index) => [name, started[index]])), close };
}
