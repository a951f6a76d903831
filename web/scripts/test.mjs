// Bundles each test with what it tests, and runs them with node's own runner.
import { build } from "esbuild";
import { readdir, rm } from "node:fs/promises";
import { spawnSync } from "node:child_process";

const root = new URL("..", import.meta.url).pathname;
const out = `${root}node_modules/.cache/dark-tower-tests`;
const tests = (await readdir(`${root}test`)).filter((name) => name.endsWith(".test.ts"));

await rm(out, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: tests.map((name) => `test/${name}`),
  outdir: out,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: "inline",
  alias: { "@dark-tower/client": `${root}client/src/index.ts` },
  define: { PROJECT_ROOT: JSON.stringify(`${root}..`) },
  logLevel: "warning",
});
const files = tests.map((name) => `${out}/${name.replace(/\.ts$/, ".mjs")}`);
process.exit(spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" }).status ?? 1);
