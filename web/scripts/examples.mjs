// Bundles the examples with the client, and serves them as plain files: `node scripts/examples.mjs [--port 8090]`, 0 for any free port.
import { build } from "esbuild";
import { cp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, normalize } from "node:path";
import { parseArgs } from "node:util";

const root = new URL("..", import.meta.url).pathname;
const out = `${root}node_modules/.cache/dark-tower-examples-${process.pid}`;
const { values } = parseArgs({ options: { port: { type: "string", default: "8090" } } });
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css" };

await cp(`${root}examples`, out, { recursive: true, filter: (path) => !/\.(ts|md)$/u.test(path) });
await build({
  absWorkingDir: root,
  entryPoints: {
    "watch/watch": "examples/watch/watch.ts",
    "canvas/canvas": "examples/canvas/canvas.ts",
    "bot/start": "examples/bot/start.ts",
    "bot/bot": "examples/bot/bot.ts",
    worker: "client/src/worker/entry.ts",
    "audio-worklet": "client/src/audio-worklet.ts",
  },
  outdir: out,
  bundle: true,
  format: "esm",
  target: "es2022",
  alias: { "@dark-tower/client": `${root}client/src/index.ts` },
  legalComments: "none",
  logLevel: "warning",
});

const server = createServer(async ({ url = "/" }, response) => {
  const { pathname } = new URL(url, "http://localhost");
  const path = normalize(decodeURIComponent(pathname)).replace(/\/$/u, "/index.html");
  try {
    const bytes = await readFile(`${out}${path}`);
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(bytes);
  } catch {
    response.writeHead(404, { "content-type": "text/plain" }).end("not found");
  }
});
server.listen(Number(values.port), "127.0.0.1", () => {
  console.log(`examples: http://localhost:${server.address().port}`);
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    server.close();
    server.closeAllConnections();
    await rm(out, { recursive: true, force: true });
    process.exit(0);
  });
}
