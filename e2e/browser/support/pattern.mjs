// Reads from a page what the test pattern (`dark-tower join --publish test:…`) shows and sounds: which frame, how old, and its marks.

/**
 * Runs in the page before it. `readStamp(canvas or video)`: the frame's number and the publisher's milliseconds, or `undefined` where no stamp is; see
 * `dark-tower/src/pattern/stamp.rs`.
 */
function learnToRead() {
  const surface = document.createElement("canvas");
  const context = surface.getContext("2d", { willReadFrequently: true });
  globalThis.readStamp = (source) => {
    const [width, height] = [source.videoWidth ?? source.width, source.videoHeight ?? source.height];
    if (width < 320 || height < 180) return undefined;
    const unit = 16 * Math.max(1, Math.min(Math.floor(width / 640), Math.floor(height / 360)));
    const [across, down] = [16 * unit, 4 * unit];
    [surface.width, surface.height] = [across, down];
    context.drawImage(source, 0, Math.floor(height / 16) * 16 - down, across, down, 0, 0, across, down);
    const { data } = context.getImageData(0, 0, across, down);
    let bits = 0n;
    for (let place = 0; place < 64; place += 1) {
      const [x, y] = [((place % 16) + 0.5) * unit, (Math.floor(place / 16) + 0.5) * unit];
      bits = (bits << 1n) | (data[4 * (Math.floor(y) * across + Math.floor(x)) + 1] > 128 ? 1n : 0n);
    }
    let check = 0xa5n;
    for (let byte = 1n; byte < 8n; byte += 1n) check ^= (bits >> (8n * byte)) & 0xffn;
    if (check !== (bits & 0xffn)) return undefined;
    return { number: Number(bits >> 44n), millis: Number((bits >> 8n) & 0xfffffffffn) };
  };
}

export const withStamps = (page) => page.addInitScript(learnToRead);

/** Of every tile with a picture: name, size, the frame's number, and its age in milliseconds by this machine's clock. */
export function stamps(page) {
  return page.$$eval('[data-testid="tile"][data-video="true"]', (tiles) =>
    tiles.map((tile) => {
      const source = tile.querySelector("canvas, video");
      const stamp = source && globalThis.readStamp(source);
      const nowMs = Date.now() % 2 ** 36;
      return {
        name: tile.querySelector(".tile-name-text")?.textContent ?? "",
        width: source?.videoWidth ?? source?.width,
        number: stamp?.number,
        ageMs: stamp && nowMs - stamp.millis,
      };
    }),
  );
}

/**
 * Runs in the page before it: keeps what goes to the loudspeaker within reach. `loudness()` is 0 to 1; `pitch()` is the loudest frequency in Hz;
 * `lastOnset()` is when sound last began after a silence, in the page's milliseconds, as heard.
 */
function learnToHear() {
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      const { context } = this;
      const fast = new AnalyserNode(context, { fftSize: 4096 });
      const fine = new AnalyserNode(context, { fftSize: 16384, smoothingTimeConstant: 0 });
      connect.call(this, fast);
      connect.call(this, fine);
      const samples = new Float32Array(fast.fftSize);
      const spectrum = new Float32Array(fine.frequencyBinCount);
      globalThis.loudness = () => {
        fast.getFloatTimeDomainData(samples);
        return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
      };
      globalThis.pitch = () => {
        fine.getFloatFrequencyData(spectrum);
        return (spectrum.indexOf(Math.max(...spectrum)) * context.sampleRate) / fine.fftSize;
      };
      /** A sound that begins after 10 ms of silence, among the last 85 ms. */
      globalThis.lastOnset = () => {
        fast.getFloatTimeDomainData(samples);
        const untilMs = context.currentTime * 1000;
        let quiet = 0;
        let found;
        for (const [index, sample] of samples.entries()) {
          if (Math.abs(sample) > 0.05) {
            if (quiet >= context.sampleRate / 100) found = index;
            quiet = 0;
          } else quiet += 1;
        }
        if (found === undefined) return undefined;
        const onsetMs = untilMs - ((samples.length - found) * 1000) / context.sampleRate;
        const { contextTime, performanceTime } = context.getOutputTimestamp();
        return onsetMs - contextTime * 1000 + performanceTime;
      };
    }
    return connect.call(this, target, ...rest);
  };
}

export const withLoudspeaker = (page) => page.addInitScript(learnToHear);

/**
 * Watches `test:sync` for `seconds`: how many milliseconds after each beep the flash is seen in `selector`. Looked at once per frame of the screen.
 */
export function flashesAfterBeeps(page, selector, seconds) {
  return page.evaluate(
    async ([where, forMs]) => {
      const surface = document.createElement("canvas");
      [surface.width, surface.height] = [8, 1];
      const context = surface.getContext("2d", { willReadFrequently: true });
      /** The colour bars are all white. */
      const isWhite = () => {
        const source = document.querySelector(where)?.querySelector("canvas, video");
        if (!source) return false;
        const [width, height] = [source.videoWidth ?? source.width, source.videoHeight ?? source.height];
        context.drawImage(source, 0, height / 8, width, 1, 0, 0, 8, 1);
        return context.getImageData(0, 0, 8, 1).data.every((value) => value > 200);
      };
      const [flashes, beeps] = [[], []];
      let wasWhite = true;
      const begunMs = performance.now();
      for (let nowMs = begunMs; nowMs < begunMs + forMs;) {
        nowMs = await new Promise((resolve) => requestAnimationFrame(resolve));
        const white = isWhite();
        if (white && !wasWhite) flashes.push(nowMs);
        wasWhite = white;
        const beepMs = globalThis.lastOnset?.();
        if (beepMs !== undefined && beepMs > (beeps.at(-1) ?? -Infinity) + 500) beeps.push(beepMs);
      }
      const near = (flashMs) => beeps.map((beepMs) => flashMs - beepMs).filter((afterMs) => Math.abs(afterMs) < 400);
      return { flashes: flashes.length, beeps: beeps.length, afterMs: flashes.flatMap(near) };
    },
    [selector, seconds * 1000],
  );
}
