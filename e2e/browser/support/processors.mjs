// What a test does to a page's `MediaStreamTrackProcessor`s: those of pictures fall silent, as Chromium's do now and then; the tracks play on.

/** Runs in the page before it. */
function silenceProcessors(pictures) {
  const Real = globalThis.MediaStreamTrackProcessor;
  globalThis.picturesOfProcessors = pictures;
  globalThis.MediaStreamTrackProcessor = class {
    constructor(options) {
      const left = globalThis.picturesOfProcessors;
      this.readable = options.track.kind === "audio" || left === Infinity ? new Real(options).readable : blanks(left);
    }
  };

  /** So many pictures, all of one colour, and then none; never an end. */
  function blanks(left) {
    const canvas = new OffscreenCanvas(64, 36);
    canvas.getContext("2d").fillRect(0, 0, 64, 36);
    let timestamp = 0;
    let last;
    const pull = (controller) => {
      // A stream that is transferred copies its pictures.
      last?.close();
      last = undefined;
      if (left === 0) return new Promise(() => undefined);
      left -= 1;
      timestamp += 33_333;
      last = new VideoFrame(canvas, { timestamp });
      controller.enqueue(last);
    };
    return new ReadableStream({ pull, cancel: () => last?.close() }, { highWaterMark: 0 });
  }
}

/** Prepares a page that is not loaded yet: each processor gives so many pictures, blank ones, and then none. */
export const withSilentProcessors = (page, pictures = 0) => page.addInitScript(silenceProcessors, pictures);

/** From the next track on processors work. */
export const mendProcessors = (page) => page.evaluate(() => void (globalThis.picturesOfProcessors = Infinity));
