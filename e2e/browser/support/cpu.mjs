// What the browser costs, as the kernel counts it.
import { readdir, readFile } from "node:fs/promises";

/** Clock ticks a second: Linux tells programs in hundredths on every machine of today. */
const TICKS = 100;

/** Seconds of CPU that this test's browser has used so far, in all its processes. */
export async function browserCpu() {
  const processes = new Map();
  for (const id of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    // A process that has ended meanwhile has none.
    const stat = await readFile(`/proc/${id}/stat`, "utf8").catch(() => undefined);
    if (stat === undefined) continue;
    const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    processes.set(Number(id), { name, parent: Number(fields[1]), seconds: (Number(fields[11]) + Number(fields[12])) / TICKS });
  }
  const isOurs = (id) => id === process.pid || (processes.has(id) && isOurs(processes.get(id).parent));
  return [...processes].filter(([id, { name }]) => /chrom/i.test(name) && isOurs(id)).reduce((sum, [, { seconds }]) => sum + seconds, 0);
}
