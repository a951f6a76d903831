// A bot, wholly inside a Worker: no window, no camera. It joins, answers what is said in the chat, and publishes pictures that it makes.

import { DarkTowerError, join, type Meeting, requestJoin } from "@dark-tower/client";
import type { Answers } from "../form.ts";
import type { FromBot } from "./start.ts";

const FRAMES_PER_SECOND = 10;

function tell(message: FromBot): void {
  postMessage(message);
}

/** Ten pictures a second with the time and what was said last. */
function pictures(text: () => string): ReadableStream<VideoFrame> {
  const canvas = new OffscreenCanvas(640, 360);
  const context = canvas.getContext("2d");
  if (context === null) throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser draws nothing");
  let timer: ReturnType<typeof setInterval> | undefined;
  return new ReadableStream<VideoFrame>({
    start: (controller) => {
      timer = setInterval(() => {
        // Nobody takes them at the moment.
        if ((controller.desiredSize ?? 0) <= 0) return;
        context.fillStyle = `hsl(${(performance.now() / 40) % 360} 50% 30%)`;
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.fillStyle = "white";
        context.font = "32px system-ui";
        context.fillText(new Date().toISOString(), 24, 64);
        context.fillText(text(), 24, 120);
        controller.enqueue(new VideoFrame(canvas, { timestamp: performance.now() * 1000 }));
      }, 1000 / FRAMES_PER_SECOND);
    },
    cancel: () => clearInterval(timer),
  });
}

/** The answer to a line of chat; `undefined`: it was not for the bot. */
function answerTo(meeting: Meeting, words: string): string | undefined {
  if (words === "!time") return `It is ${new Date().toISOString()}`;
  if (words === "!people") return `${meeting.participants.value.size + 1} of us are here`;
  return words.startsWith("!") ? "I know !time and !people" : undefined;
}

async function run({ api, meeting: code, name }: Answers): Promise<void> {
  const ticket = () => requestJoin(code, name, { origin: api });
  // Relative to this Worker, in whose place there is no page.
  const meeting = await join({
    ticket,
    displayName: name,
    workerUrl: "../worker.js",
    autoSubscribe: false,
    isMuted: true,
    isVideoOn: true,
  });
  let last = "Say !time or !people";
  meeting.on("chat", ({ senderId, senderName, content }) => {
    if (senderId === meeting.participantId) return;
    const answer = answerTo(meeting, content);
    if (answer === undefined) return;
    last = `${senderName}: ${content}`;
    tell({ said: last });
    meeting.sendChat(answer).catch((thrown: unknown) => tell({ said: DarkTowerError.from(thrown).message }));
  });
  meeting.on("rejoined", () => tell({ said: "back again" }));
  meeting.on("ended", ({ reason }) => tell({ said: `ended: ${reason}` }));
  await meeting.publish(
    pictures(() => last),
    "camera",
  );
}

onmessage = ({ data }: MessageEvent<Answers>) => {
  run(data).then(
    () => tell({ joined: true }),
    (thrown: unknown) => tell({ failed: DarkTowerError.from(thrown).toData() }),
  );
};
