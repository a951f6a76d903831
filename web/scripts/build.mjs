// Bundles the meeting page and the client's worker and worklet into dist/, and prints what a visitor downloads.
import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const root = new URL("..", import.meta.url).pathname;
const dist = `${root}dist`;
const sourcemap = process.argv.includes("--sourcemap") ? "linked" : false;

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await cp(`${root}page/static`, dist, { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: {
    app: "page/src/app.ts",
    worker: "client/src/worker/entry.ts",
    "audio-worklet": "client/src/audio-worklet.ts",
  },
  outdir: dist,
  bundle: true,
  minify: true,
  sourcemap,
  format: "esm",
  target: "es2022",
  alias: { "@dark-tower/client": `${root}client/src/index.ts` },
  legalComments: "none",
  logLevel: "warning",
});

let total = 0;
for (const name of (await readdir(dist)).sort()) {
  if (name.endsWith(".map")) continue;
  const bytes = await readFile(`${dist}/${name}`);
  const zipped = gzipSync(bytes).length;
  total += zipped;
  console.log(`${name.padEnd(20)} ${String(bytes.length).padStart(8)} bytes ${String(zipped).padStart(7)} gzipped`);
}
console.log(`${"all".padEnd(20)} ${"".padStart(8)}       ${String(total).padStart(7)} gzipped`);
