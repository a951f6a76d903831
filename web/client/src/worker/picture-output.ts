// Where pictures of others are put: a canvas of the page, a track. In: pictures, which stay the caller's. Never decides when.

import type { OutputTarget } from "../messages.ts";

export interface PictureOutput {
  put(picture: VideoFrame): void;
  close(): void;
}

/** `isHeld`: whether a canvas is to keep what it shows. */
export function pictureOutput(target: OutputTarget, isHeld: () => boolean): PictureOutput {
  return target.kind === "canvas" ? new CanvasOutput(target.canvas, isHeld) : new TrackOutput(target.writable);
}

class CanvasOutput implements PictureOutput {
  private readonly canvas: OffscreenCanvas;
  private readonly context: OffscreenCanvasRenderingContext2D | null;
  private readonly isHeld: () => boolean;

  constructor(canvas: OffscreenCanvas, isHeld: () => boolean) {
    this.canvas = canvas;
    this.isHeld = isHeld;
    this.context = canvas.getContext("2d", { alpha: false });
  }

  put(picture: VideoFrame): void {
    if (this.isHeld()) return;
    const { canvas } = this;
    const { displayWidth, displayHeight } = picture;
    // Setting a size clears a canvas, even to the same.
    if (canvas.width !== displayWidth || canvas.height !== displayHeight) {
      canvas.width = displayWidth;
      canvas.height = displayHeight;
    }
    this.context?.drawImage(picture, 0, 0, displayWidth, displayHeight);
  }

  close(): void {
    // A canvas of one pixel gives its memory back.
    this.canvas.width = 1;
    this.canvas.height = 1;
  }
}

class TrackOutput implements PictureOutput {
  private readonly writer: WritableStreamDefaultWriter<VideoFrame>;

  constructor(writable: WritableStream<VideoFrame>) {
    this.writer = writable.getWriter();
    this.writer.closed.catch(() => undefined);
  }

  put(picture: VideoFrame): void {
    // Whoever reads the track takes what is now; a picture that waits for him is one too many.
    if ((this.writer.desiredSize ?? 0) <= 0) return;
    const copy = picture.clone();
    // The track takes the picture and closes it; a track that was stopped takes none.
    this.writer.write(copy).catch(() => copy.close());
  }

  close(): void {
    this.writer.close().catch(() => undefined);
  }
}
