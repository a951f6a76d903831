// Whether one hears something: three notes through the chosen speaker.

/** Hertz; a chord's notes one after the other, which nobody takes for an alarm. */
const NOTES = [523.25, 659.25, 783.99];
const NOTE_SECONDS = 0.28;
const VOLUME = 0.16;

/** Chromium's way to choose a speaker; not everywhere. */
interface WithSink {
  setSinkId?: (deviceId: string) => Promise<void>;
}

/** Whether a speaker can be chosen here at all. */
export function canChooseSpeaker(): boolean {
  return typeof AudioContext !== "undefined" && "setSinkId" in AudioContext.prototype;
}

/** Sends a context's sound to a speaker; a device that is gone leaves it where it was. */
export async function routeTo(context: AudioContext, deviceId: string | undefined): Promise<void> {
  // The empty id is the system's choice.
  await (context as WithSink).setSinkId?.(deviceId === "default" ? "" : (deviceId ?? "")).catch(() => undefined);
}

/** Plays the notes; resolves when they are over. Call it from a press: sound is not allowed otherwise. */
export async function playTestSound(deviceId: string | undefined): Promise<void> {
  const context = new AudioContext();
  try {
    await routeTo(context, deviceId);
    await context.resume();
    const startSeconds = context.currentTime + 0.05;
    const tones = NOTES.map((frequency, index) => {
      const tone = new OscillatorNode(context, { frequency, type: "sine" });
      const loudness = new GainNode(context, { gain: 0 });
      const fromSeconds = startSeconds + index * NOTE_SECONDS;
      // Without the ramps one hears a click.
      loudness.gain.setValueAtTime(0, fromSeconds);
      loudness.gain.linearRampToValueAtTime(VOLUME, fromSeconds + 0.03);
      loudness.gain.exponentialRampToValueAtTime(0.001, fromSeconds + 2 * NOTE_SECONDS);
      tone.connect(loudness).connect(context.destination);
      tone.start(fromSeconds);
      tone.stop(fromSeconds + 2 * NOTE_SECONDS);
      return tone;
    });
    await new Promise((resolve) => tones.at(-1)?.addEventListener("ended", resolve));
  } finally {
    await context.close();
  }
}
