// A cluster of separate processes, started from files as docs/operating.md says, in which a handler can be killed and started again.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually } from "./browser.mjs";
import { BIN } from "./dark-tower.mjs";
import { start } from "./processes.mjs";

const run = promisify(execFile);
const READY_WITHIN_MS = 30_000;
const NODES = { "gc-1": "global-controller", "mc-1": "meeting-controller", "mh-1": "media-handler" };

/** Free ports: below those that clients get, so that a node finds its own again when it restarts. */
async function freePorts(count) {
  const found = [];
  for (let port = 12_000 + ((process.pid * 97) % 15_000); found.length < count; port += 1) {
    const server = createServer();
    const isFree = await new Promise((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    await new Promise((resolve) => (isFree ? server.close(resolve) : resolve()));
    if (isFree) found.push(port);
  }
  return found;
}

function configuration(id, kind, folder, { publicPort, grpcPort, adminPort }, registryPort) {
  const isFront = kind === "global-controller";
  return `
node_id = "${id}"
admin_bind = "127.0.0.1:${adminPort}"
${isFront ? "allow_anonymous_create = true" : ""}

[cluster]
certificate = "${folder}/${id}/node.pem"
key = "${folder}/${id}/node.key"
authority = "${folder}/${id}/cluster.pem"
grpc_bind = "127.0.0.1:${grpcPort}"
${isFront ? "" : `global_controllers = ["127.0.0.1:${registryPort}"]`}

[public]
bind = "127.0.0.1:${publicPort}"
names = ["127.0.0.1"]

${isFront ? `[store]\npath = "${folder}/store.sqlite"\n[rates]\nrequests = 1000000\nanonymous_joins = 1000000\n` : ""}`;
}

/** One of each kind, on loopback. Its page has a certificate that nobody has signed: open it with `ignoreHTTPSErrors`. */
export async function startCluster() {
  const folder = await mkdtemp(join(tmpdir(), "dark-tower-cluster-"));
  const running = {};
  const stop = async () => {
    await Promise.all(Object.values(running).map((node) => node.stop()));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await run(BIN, ["certs", "init", "--dir", `${folder}/authority`]);
    const numbers = await freePorts(9);
    const ports = {};
    for (const [index, [id, kind]] of Object.entries(NODES).entries()) {
      await run(BIN, ["certs", "issue", "--dir", `${folder}/authority`, id, "--kind", kind, "--out", `${folder}/${id}`]);
      const [publicPort, grpcPort, adminPort] = numbers.slice(3 * index);
      ports[id] = { publicPort, grpcPort, adminPort };
      await writeFile(`${folder}/${id}.toml`, configuration(id, kind, folder, ports[id], ports["gc-1"].grpcPort));
    }
    const launch = (id) => (running[id] = start(BIN, [NODES[id], "--config", `${folder}/${id}.toml`]));
    const ready = (id) =>
      eventually(`${id} is ready`, READY_WITHIN_MS, async () => {
        if (!running[id].isRunning()) throw new Error(`${id} ended:\n${running[id].lines.join("\n")}`);
        return (await fetch(`http://127.0.0.1:${ports[id].adminPort}/readyz`).catch(() => undefined))?.ok;
      });
    for (const id of Object.keys(NODES)) launch(id);
    for (const id of Object.keys(NODES)) await ready(id);
    return {
      url: `https://127.0.0.1:${ports["gc-1"].publicPort}`,
      lines: (id) => running[id].lines,
      /** As a crash. */
      kill: (id) => running[id].kill(),
      launch,
      ready,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
