// Bundles the meeting page, the client's worker and worklet and the documentation page into dist/, and prints what a visitor downloads.
import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { brotliCompressSync, gzipSync } from "node:zlib";

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

/** What a visitor of the meeting page downloads in all, at most; gzip, which every server can do. Codecs are the browser's own. */
const PAGE_BYTES_MAX = 150_000;

const sums = { page: { gzip: 0, brotli: 0 }, docs: { gzip: 0, brotli: 0 } };
const row = (name, bytes, gzip, brotli) =>
  console.log(
    `${name.padEnd(20)} ${String(bytes).padStart(8)} bytes ${String(gzip).padStart(7)} gzip ${String(brotli).padStart(7)} brotli`,
  );
for (const name of (await readdir(dist, { recursive: true })).sort()) {
  if (name.endsWith(".map") || !name.includes(".")) continue;
  const bytes = await readFile(`${dist}/${name}`);
  const [zipped, brotli] = [gzipSync(bytes, { level: 9 }), brotliCompressSync(bytes).length];
  const gzip = zipped.length;
  // The server gives whoever takes it the compressed one.
  if (gzip < 0.8 * bytes.length) await writeFile(`${dist}/${name}.gz`, zipped);
  const sum = name.startsWith("docs/") ? sums.docs : sums.page;
  sum.gzip += gzip;
  sum.brotli += brotli;
  row(name, bytes.length, gzip, brotli);
}
row("meeting page", "", sums.page.gzip, sums.page.brotli);
row("documentation", "", sums.docs.gzip, sums.docs.brotli);
if (sums.page.gzip > PAGE_BYTES_MAX) {
  console.error(`the meeting page is ${sums.page.gzip} bytes compressed; it may have ${PAGE_BYTES_MAX}`);
  process.exit(1);
}
