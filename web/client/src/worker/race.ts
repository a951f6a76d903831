// Several ways to one goal, each begun a while after the one before it or as soon as all before it have failed: the first to stand wins.
// In: ways, best first. Out: the winner. Whoever stands too late is handed back to be closed.

export interface Contender<T> {
  /** Milliseconds after the start of the race before which it is not begun, unless all before it have failed. */
  afterMs: number;
  start(): Promise<T>;
}

/** The first to stand. Rejects with the first failure, which is that of the best way, when none does. */
export function race<T>(contenders: readonly Contender<T>[], late: (result: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let begun = 0;
    let running = 0;
    let won = false;
    let firstFailure: Error | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const startedAtMs = performance.now();

    const begin = (): void => {
      clearTimeout(timer);
      const contender = contenders[begun];
      if (won || contender === undefined) return;
      const leftMs = contender.afterMs - (performance.now() - startedAtMs);
      if (leftMs > 0 && running > 0) {
        timer = setTimeout(begin, leftMs);
        return;
      }
      begun += 1;
      running += 1;
      contender.start().then(stood, failed);
      begin();
    };
    const stood = (result: T): void => {
      running -= 1;
      if (won) {
        late(result);
        return;
      }
      won = true;
      clearTimeout(timer);
      resolve(result);
    };
    const failed = (thrown: unknown): void => {
      running -= 1;
      firstFailure ??= thrown instanceof Error ? thrown : new Error(String(thrown));
      if (won) return;
      if (running === 0 && begun === contenders.length) reject(firstFailure);
      else begin();
    };

    if (contenders.length === 0) reject(new Error("there is nothing to try"));
    begin();
  });
}
