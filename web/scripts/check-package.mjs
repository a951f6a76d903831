// Packs @dark-tower/client as npm would publish it, installs it in an empty folder, and compiles an application against it.
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = new URL("..", import.meta.url).pathname;
/** What must be there for an application to run. */
const FILES = ["LICENSE", "README.md", "package.json", "dist/index.js", "dist/index.d.ts", "dist/worker.js", "dist/audio-worklet.js"];

const APPLICATION = `
import { createMeeting, DarkTowerError, join, type Meeting, requestJoin, type TicketSource } from "@dark-tower/client";

export async function enter(code: string, canvas: HTMLCanvasElement, track: MediaStreamTrack): Promise<Meeting> {
  const ticket: TicketSource = () => requestJoin(code, "Ana", { origin: "https://meet.example.org" });
  const meeting = await join({ ticket, displayName: "Ana", workerUrl: new URL("worker.js", location.href).href });
  const stop: () => void = meeting.state.subscribe((state: "connected" | "reconnecting" | "ended") => console.log(state));
  meeting.on("stream-published", ({ streamId }) => void meeting.attach(streamId, canvas));
  meeting.on("ended", ({ reason, error }) => console.log(reason, error?.code));
  meeting.on("rejoined", ({ participantId, before }) => console.log(participantId, before));
  const publication = await meeting.publish(track, "camera", { maxBitrate: 500_000 });
  const name: string = meeting.me.value.name;
  console.log(name, publication.streamId, meeting.stats.value?.publications.length, meeting.quality.value.reason);
  stop();
  return meeting;
}

export async function make(): Promise<string> {
  try {
    return (await createMeeting("Tea")).meeting_url;
  } catch (thrown) {
    const error = DarkTowerError.from(thrown);
    return error.code === "RATE_LIMITED" ? "later" : error.message;
  }
}

// @ts-expect-error there is no such event
export const wrong = (meeting: Meeting) => meeting.on("no-such-event", () => undefined);
`;

const folder = await mkdtemp(join(tmpdir(), "dark-tower-package-"));
try {
  execFileSync(process.execPath, [`${root}scripts/package.mjs`], { stdio: "inherit" });
  const pack = ["pack", "--json", "--silent", "--pack-destination", folder];
  const [packed] = JSON.parse(execFileSync("npm", pack, { cwd: `${root}client`, stdio: ["ignore", "pipe", "ignore"] }));
  const names = packed.files.map(({ path }) => path);
  const missing = FILES.filter((name) => !names.includes(name));
  if (missing.length > 0) throw new Error(`the package lacks ${missing.join(", ")}`);
  const stray = names.filter((name) => !FILES.includes(name) && !/^dist\/.*(\.d\.ts|\.map)$/u.test(name));
  if (stray.length > 0) throw new Error(`the package has ${stray.join(", ")}, which nobody needs`);

  const installed = join(folder, "node_modules/@dark-tower/client");
  await mkdir(installed, { recursive: true });
  execFileSync("tar", ["-xzf", join(folder, packed.filename), "-C", installed, "--strip-components=1"]);
  const { exports } = JSON.parse(await readFile(join(installed, "package.json"), "utf8"));
  for (const target of Object.values(exports)) {
    for (const path of typeof target === "string" ? [target] : Object.values(target)) await readFile(join(installed, path));
  }
  await writeFile(join(folder, "application.ts"), APPLICATION);
  await writeFile(join(folder, "package.json"), '{ "type": "module" }');
  for (const [module, moduleResolution] of [
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ]) {
    const compilerOptions = { module, moduleResolution, strict: true, noEmit: true, target: "es2022", lib: ["es2022", "dom"], types: [] };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["application.ts"] }));
    execFileSync(`${root}node_modules/.bin/tsc`, ["-p", folder], { stdio: "inherit" });
  }
  console.log(`${packed.name} ${packed.version}: ${names.length} files, ${packed.size} bytes packed; an application compiles against it`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
