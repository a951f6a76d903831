// Makes client/dist and what lies beside it: the npm package @dark-tower/client with its types, its worker, its worklet, its README and licence.
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";

const root = new URL("..", import.meta.url).pathname;
const dist = `${root}client/dist`;
/** From here on the README is for those who work on the client. */
const INSIDE = "\n## Working on it\n";

await rm(dist, { recursive: true, force: true });
execFileSync(`${root}node_modules/.bin/tsc`, ["-p", `${root}tsconfig.package.json`], { stdio: "inherit" });
for (const name of await readdir(dist, { recursive: true })) {
  if (!name.endsWith(".d.ts")) continue;
  // Declarations still name the sources, which are not in the package.
  const text = await readFile(`${dist}/${name}`, "utf8");
  await writeFile(`${dist}/${name}`, text.replaceAll(/((?:from |import\()"\.[^"]*)\.ts"/g, '$1.js"'));
}
await build({
  absWorkingDir: root,
  entryPoints: { index: "client/src/index.ts", worker: "client/src/worker/entry.ts", "audio-worklet": "client/src/audio-worklet.ts" },
  outdir: dist,
  bundle: true,
  format: "esm",
  target: "es2022",
  sourcemap: true,
  legalComments: "eof",
  logLevel: "warning",
});
const readme = await readFile(`${root}README.md`, "utf8");
// Links to what is not in the package are its words alone.
const ofPackage = readme.split(INSIDE)[0].replaceAll(/\[([^\]]+)\]\((?!https?:)[^)]*\)/g, "$1");
await writeFile(`${root}client/README.md`, ofPackage);
await cp(`${root}../LICENSE`, `${root}client/LICENSE`);
