// A clip with picture and sound, made on the spot.
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export async function makeClip() {
  const directory = await mkdtemp(join(tmpdir(), "dark-tower-clip-"));
  const video = join(directory, "clip.ivf");
  const audio = join(directory, "clip.opus");
  const quiet = ["-hide_banner", "-loglevel", "error", "-y"];
  await run("ffmpeg", [
    ...quiet,
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=640x360:rate=30:duration=6",
    "-c:v",
    "libvpx",
    "-b:v",
    "700k",
    "-g",
    "60",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
    video,
  ]);
  await run("ffmpeg", [
    ...quiet,
    "-f",
    "lavfi",
    "-i",
    "sine=frequency=440:sample_rate=48000:duration=6",
    "-c:a",
    "libopus",
    "-b:a",
    "48k",
    "-frame_duration",
    "20",
    audio,
  ]);
  return { video, audio, remove: () => rm(directory, { recursive: true, force: true }) };
}
