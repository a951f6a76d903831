// Another way to a track's pictures, tried beside one that gives none. In: frames by the other way. Out: the same frames, once they are
// proved to be needed: the other way has shown a picture, and the first one still has none. Lets go of what is not needed.

/** Both ways lead to the same camera: what the other one has shown, the first one has in much less, on a busy machine too. */
const PROOF_MS = 150;

export class Relief {
  private readonly isNeeded: () => boolean;
  private readonly takeOver: (frames: ReadableStream<VideoFrame>) => void;
  private reader: ReadableStreamDefaultReader<VideoFrame> | undefined;

  constructor(isNeeded: () => boolean, takeOver: (frames: ReadableStream<VideoFrame>) => void) {
    this.isNeeded = isNeeded;
    this.takeOver = takeOver;
  }

  /** Takes `frames` over when they come and are still needed then; the newest offer counts. */
  async offer(frames: ReadableStream<VideoFrame>): Promise<void> {
    this.end();
    const reader = frames.getReader();
    if (!this.isNeeded()) {
      reader.cancel().catch(() => undefined);
      return;
    }
    this.reader = reader;
    const isGood = await showsPicture(reader);
    if (isGood) await new Promise((resolve) => setTimeout(resolve, PROOF_MS));
    // Ended, and cancelled, meanwhile.
    if (this.reader !== reader) return;
    this.reader = undefined;
    if (isGood && this.isNeeded()) {
      reader.releaseLock();
      this.takeOver(frames);
    } else {
      reader.cancel().catch(() => undefined);
    }
  }

  /** What was offered is needed no more. */
  end(): void {
    this.reader?.cancel().catch(() => undefined);
    this.reader = undefined;
  }
}

async function showsPicture(reader: ReadableStreamDefaultReader<VideoFrame>): Promise<boolean> {
  try {
    const { value } = await reader.read();
    value?.close();
    return value !== undefined;
  } catch {
    return false;
  }
}
