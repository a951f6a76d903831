// The network of one page: every address that it dials leads through a path in user space (`e2e/src/bin/link.rs`) which can be cut and healed.
import { fileURLToPath } from "node:url";
import { start } from "./processes.mjs";
import { prepareWorkers } from "./worker.mjs";

const BIN = process.env.LINK_BIN ?? fileURLToPath(new URL("../../../target/debug/link", import.meta.url));
const ANSWERS_WITHIN_MS = 10_000;

/** A path to `address` (host and port), for UDP and TCP. */
async function startLink(address) {
  const child = start(BIN, ["--to", address]);
  const line = await child.said("where it listens", ANSWERS_WITHIN_MS, (said) => said.startsWith("link: "));
  const order = async (command, answer) => {
    const obeyed = child.said(answer, ANSWERS_WITHIN_MS, (said) => said.startsWith(`link: ${answer}`));
    child.say(command);
    await obeyed;
  };
  return {
    address: line.split(" ")[1],
    cut: () => order("cut", "cut"),
    heal: () => order("heal", "healed"),
    narrow: (kbps) => order(`up ${kbps}`, `${kbps} kb/s`),
    stop: () => child.kill(),
  };
}

/** Runs in the worker before it is spoken to: dials `detours[host:port]` instead of `host:port`. */
function takeDetours(detours) {
  const around = (url) => {
    const target = new URL(url);
    const detour = detours[target.host];
    if (detour === undefined) throw new Error(`${target.host} has no path in this test`);
    target.host = detour;
    return target.href;
  };
  const { WebTransport: RealWebTransport, WebSocket: RealWebSocket } = globalThis;
  globalThis.WebTransport = class extends RealWebTransport {
    constructor(url, options) {
      super(around(url), options);
    }
  };
  globalThis.WebSocket = class extends RealWebSocket {
    constructor(url, protocols) {
      super(around(url), protocols);
    }
  };
}

/**
 * A network of its own for a page: `prepare` it before it loads, and open addresses by `through(url)`. The page's requests, its signaling and its media go
 * through paths of their own, cut and healed together.
 */
export async function startNetwork(dev) {
  const { http_url: http, signaling_url: signaling, media_url: media } = dev.addresses;
  const targets = [http, signaling, media].map((url) => new URL(url));
  const ipv4 = ({ hostname, port }) => `${hostname === "localhost" ? "127.0.0.1" : hostname}:${port}`;
  const links = await Promise.all(targets.map((target) => startLink(ipv4(target))));
  const detours = Object.fromEntries(targets.map((target, index) => [target.host, links[index].address]));
  // The page itself is a secure context on `localhost` alone.
  const page = new URL(http);
  page.port = new URL(`http://${links[0].address}`).port;
  detours[page.host] = links[0].address;
  return {
    prepare: (opened) => prepareWorkers(opened, takeDetours, detours),
    through: (url) => url.replace(targets[0].origin, page.origin),
    cut: () => Promise.all(links.map((link) => link.cut())),
    heal: () => Promise.all(links.map((link) => link.heal())),
    /** So much passes from the page to its media handler, with a home router's queue before it; 0: everything. */
    narrowUplink: (kbps) => links[2].narrow(kbps),
    stop: () => Promise.all(links.map((link) => link.stop())),
  };
}
