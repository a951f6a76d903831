// Pictures of a track by way of a video element that nobody sees, where the track's own processor gives none. In: a track, and nudges while
// the page is hidden. Out: what the element shows, the newest picture, to who asks for one. Holds no picture, and gives none that nobody asked for.

/** Runs on the page's thread until `close`, or until nobody reads. */
export class ElementFrames {
  /** Whoever reads closes them. Their timestamps count as the track's frames do, from a zero of their own. */
  readonly frames: ReadableStream<VideoFrame>;
  private readonly video = document.createElement("video");
  private controller: ReadableStreamDefaultController<VideoFrame> | undefined;
  private given: (() => void) | undefined;
  /** Pictures that the element had had when the last one was taken. */
  private taken = 0;
  private callback = 0;

  constructor(track: MediaStreamTrack) {
    const { video } = this;
    this.frames = new ReadableStream<VideoFrame>(
      {
        start: (controller) => void (this.controller = controller),
        pull: () => this.want(),
        cancel: () => this.close(),
      },
      // A picture that waits here would hold one of the camera's few buffers, and grow old.
      { highWaterMark: 0 },
    );
    video.muted = true;
    video.playsInline = true;
    video.srcObject = new MediaStream([track]);
    this.look();
    this.follow();
  }

  get isOpen(): boolean {
    return this.controller !== undefined;
  }

  /** A hidden page is not called for each picture, and its timers are seldom; whoever waits elsewhere nudges. */
  look(): void {
    if (!this.isOpen) return;
    // Muted, an element may always play; some systems pause it behind a lock screen.
    if (this.video.paused) this.video.play().catch(() => undefined);
    this.take();
  }

  close(): void {
    const { controller, video } = this;
    if (controller === undefined) return;
    this.controller = undefined;
    video.cancelVideoFrameCallback(this.callback);
    video.srcObject = null;
    this.given?.();
    try {
      controller.close();
    } catch {
      // Its reader has cancelled it.
    }
  }

  private follow(): void {
    this.callback = this.video.requestVideoFrameCallback(() => {
      this.take();
      if (this.isOpen) this.follow();
    });
  }

  private want(): Promise<void> {
    const given = new Promise<void>((resolve) => (this.given = resolve));
    this.take();
    return given;
  }

  private take(): void {
    const { controller, given, video } = this;
    if (controller === undefined || given === undefined) return;
    const { totalVideoFrames } = video.getVideoPlaybackQuality();
    if (totalVideoFrames === this.taken || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    let picture: VideoFrame;
    try {
      // With the timestamp of the very picture, which may be newer than the one that the element called for.
      picture = new VideoFrame(video);
    } catch {
      // It has none after all: the next one.
      return;
    }
    this.taken = totalVideoFrames;
    this.given = undefined;
    controller.enqueue(picture);
    given();
  }
}
