// Makes client/dist: the npm package @dark-tower/client with its types, its worker and its worklet.
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";

const root = new URL("..", import.meta.url).pathname;
const dist = `${root}client/dist`;

await rm(dist, { recursive: true, force: true });
execFileSync(`${root}node_modules/.bin/tsc`, ["-p", `${root}tsconfig.package.json`], { stdio: "inherit" });
for (const name of await readdir(dist)) {
  // Declarations still name the sources, which are not in the package.
  const text = await readFile(`${dist}/${name}`, "utf8");
  await writeFile(`${dist}/${name}`, text.replaceAll(/(from "\.[^"]*)\.ts"/g, '$1.js"'));
}
await build({
  absWorkingDir: root,
  entryPoints: { index: "client/src/index.ts", worker: "client/src/worker/entry.ts", "audio-worklet": "client/src/audio-worklet.ts" },
  outdir: dist,
  bundle: true,
  format: "esm",
  target: "es2022",
  sourcemap: true,
  legalComments: "none",
  logLevel: "warning",
});
