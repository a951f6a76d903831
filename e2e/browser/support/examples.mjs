// Serves the examples of `web/examples` as a developer does.
import { fileURLToPath } from "node:url";
import { start } from "./processes.mjs";

const SCRIPT = fileURLToPath(new URL("../../../web/scripts/examples.mjs", import.meta.url));
const READY = /^examples: (\S+)$/u;
const READY_WITHIN_MS = 60_000;

/** `origin` is where their pages are. */
export async function startExamples() {
  const child = start(process.execPath, [SCRIPT, "--port", "0"]);
  const line = await child.said("where it serves", READY_WITHIN_MS, (said) => READY.test(said));
  return { origin: READY.exec(line)[1], stop: child.stop };
}
