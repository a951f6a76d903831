// The TypeScript client without the meeting page: bundled on the spot and served into Chromium at an address that no server needs to know.
import { fileURLToPath } from "node:url";

const WEB = new URL("../../../web/", import.meta.url);

/** JavaScript of `source`, a module that imports from `web/client/src`, with everything it needs. */
export async function bundle(source) {
  const { build } = await import(new URL("node_modules/esbuild/lib/main.js", WEB).href);
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: fileURLToPath(new URL("client/src", WEB)), loader: "ts" },
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    logLevel: "error",
  });
  return outputFiles[0].text;
}

/** Files of a page at `origin` by their paths; whatever else is asked for there goes to the server. */
export async function serve(page, origin, files) {
  for (const [path, body] of Object.entries(files)) {
    const contentType = path.endsWith(".js") ? "text/javascript" : "text/html";
    await page.route(`${origin}${path}`, (route) => route.fulfill({ body, contentType }));
  }
}
