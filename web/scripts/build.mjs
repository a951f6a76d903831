// Bundles the meeting page, the client's worker and worklet and the documentation page into dist/, and prints what a visitor downloads.
import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const root = new URL("..", import.meta.url).pathname;
const dist = `${root}dist`;
const sourcemap = process.argv.includes("--sourcemap") ? "linked" : false;

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await cp(`${root}page/static`, dist, { recursive: true });
await cp(`${root}docs/static`, `${dist}/docs`, { recursive: true });
await cp(`${root}node_modules/marked/LICENSE`, `${dist}/docs/licences.txt`);
await build({
  absWorkingDir: root,
  entryPoints: {
    app: "page/src/app.ts",
    worker: "client/src/worker/entry.ts",
    "audio-worklet": "client/src/audio-worklet.ts",
    "docs/docs": "docs/src/docs.ts",
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
for (const name of (await readdir(dist, { recursive: true })).sort()) {
  if (name.endsWith(".map") || !name.includes(".")) continue;
  const bytes = await readFile(`${dist}/${name}`);
  const gzip = gzipSync(bytes, { level: 9 });
  const zipped = gzip.length;
  total += zipped;
  // The server gives whoever takes it the compressed one.
  if (zipped < 0.8 * bytes.length) await writeFile(`${dist}/${name}.gz`, gzip);
  console.log(`${name.padEnd(20)} ${String(bytes.length).padStart(8)} bytes ${String(zipped).padStart(7)} gzipped`);
}
console.log(`${"all".padEnd(20)} ${"".padStart(8)}       ${String(total).padStart(7)} gzipped`);
