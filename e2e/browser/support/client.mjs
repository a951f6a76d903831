// The TypeScript client without the meeting page: bundled on the spot, and served as an application's own site.
import { createServer } from "node:http";
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
    // The package says that its modules have no side effects; importing its worker for nothing else is one all the same.
    ignoreAnnotations: true,
    logLevel: "error",
  });
  return outputFiles[0].text;
}

/** Serves files by their paths on a port of localhost, which is a secure context. */
export async function startSite(files) {
  const server = createServer((request, response) => {
    const body = files[new URL(request.url, "http://localhost").pathname];
    const type = request.url.endsWith(".js") ? "text/javascript" : "text/html";
    response.writeHead(body === undefined ? 204 : 200, { "content-type": `${type}; charset=utf-8` }).end(body);
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const stop = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { origin: `http://localhost:${server.address().port}`, stop };
}
