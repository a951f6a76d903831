// Publishes a canvas: whatever is drawn on it is what the others see.

import { join, requestJoin } from "@dark-tower/client";
import { ask } from "../form.ts";

const FRAMES_PER_SECOND = 30;

/** A hand that goes round once in four seconds. */
function draw(context: CanvasRenderingContext2D, nowMs: number): void {
  const { width, height } = context.canvas;
  const angle = (nowMs / 4000) * 2 * Math.PI;
  context.fillStyle = `hsl(${(nowMs / 50) % 360} 60% 25%)`;
  context.fillRect(0, 0, width, height);
  context.translate(width / 2, height / 2);
  context.rotate(angle);
  context.fillStyle = "white";
  context.fillRect(-4, 0, 8, -height / 3);
  context.resetTransform();
  context.font = "24px system-ui";
  context.fillText(new Date().toLocaleTimeString(), 16, height - 16);
}

ask("Canvas", async ({ api, meeting: code, name }) => {
  const canvas = document.body.appendChild(document.createElement("canvas"));
  canvas.width = 640;
  canvas.height = 360;
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("this browser draws nothing");
  const paint = (nowMs: number): void => {
    draw(context, nowMs);
    requestAnimationFrame(paint);
  };
  requestAnimationFrame(paint);

  const ticket = () => requestJoin(code, name, { origin: api });
  const meeting = await join({ ticket, displayName: name, isMuted: true, autoSubscribe: false });
  const [track] = canvas.captureStream(FRAMES_PER_SECOND).getVideoTracks();
  if (track === undefined) throw new Error("the canvas gives no pictures");
  const publication = await meeting.publish(track, "camera", { maxBitrate: 800_000 });
  await meeting.setVideoOn(true);

  const stop = document.body.appendChild(document.createElement("button"));
  stop.textContent = "Stop";
  stop.addEventListener("click", () => {
    stop.disabled = true;
    void publication.stop().then(() => meeting.leave());
  });
  addEventListener("pagehide", () => void meeting.leave());
});
