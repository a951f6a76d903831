// Which pictures of others are worth receiving, when the application subscribes to what is visible. In: what is published, what is
// looked at, the time. Out: whom to subscribe to or not, and when to ask again. Knows no element, no timer and no wire.

/** A tile that scrolls past, a tab that is left for a moment: subscribing again would cost more than what comes meanwhile. */
export const HIDDEN_GRACE_MS = 2000;
/** A change that was refused is asked for again after so long. */
const RETRY_MS = 5000;

export interface SubscriptionChange {
  streamId: string;
  isSubscribed: boolean;
}

interface Known {
  isWanted: boolean;
  /** When it was last wanted, or published. */
  wantedUntilMs: number;
  isSubscribed: boolean;
  /** The application decided by itself. */
  isPinned: boolean;
  retryAtMs: number;
}

export class VisiblePolicy {
  private readonly streams = new Map<string, Known>();

  /** A media stream begins, and the controller subscribes to it by itself. */
  published(nowMs: number, streamId: string): void {
    const known = this.streams.get(streamId);
    if (known !== undefined) return;
    this.streams.set(streamId, { isWanted: false, wantedUntilMs: nowMs, isSubscribed: true, isPinned: false, retryAtMs: -Infinity });
  }

  unpublished(streamId: string): void {
    this.streams.delete(streamId);
  }

  /** Somebody looks at it, or nobody does any more. */
  setWanted(nowMs: number, streamId: string, isWanted: boolean): void {
    const known = this.streams.get(streamId);
    if (known === undefined || known.isWanted === isWanted) return;
    known.isWanted = isWanted;
    known.wantedUntilMs = nowMs;
  }

  /** The application subscribed or unsubscribed by itself: that stands, whatever is visible. */
  pin(streamId: string, isSubscribed: boolean): void {
    const known = this.streams.get(streamId);
    if (known !== undefined) Object.assign(known, { isPinned: true, isSubscribed });
  }

  /** What to change now. Taken as done; `failed` takes it back. */
  due(nowMs: number): SubscriptionChange[] {
    const changes: SubscriptionChange[] = [];
    for (const [streamId, known] of this.streams) {
      const atMs = dueAtMs(known);
      if (atMs === undefined || atMs > nowMs) continue;
      known.isSubscribed = !known.isSubscribed;
      changes.push({ streamId, isSubscribed: known.isSubscribed });
    }
    return changes;
  }

  /** A change was refused. */
  failed(nowMs: number, { streamId, isSubscribed }: SubscriptionChange): void {
    const known = this.streams.get(streamId);
    if (known === undefined || known.isSubscribed !== isSubscribed) return;
    known.isSubscribed = !isSubscribed;
    known.retryAtMs = nowMs + RETRY_MS;
  }

  /** When `due` has something next; `undefined`: not before something changes. */
  deadlineMs(): number | undefined {
    let first: number | undefined;
    for (const known of this.streams.values()) {
      const atMs = dueAtMs(known);
      if (atMs !== undefined && (first === undefined || atMs < first)) first = atMs;
    }
    return first;
  }
}

/** When this one is to change; wanted at once, unwanted after the grace. */
function dueAtMs(known: Known): number | undefined {
  if (known.isPinned || known.isWanted === known.isSubscribed) return undefined;
  return Math.max(known.retryAtMs, known.isWanted ? known.wantedUntilMs : known.wantedUntilMs + HIDDEN_GRACE_MS);
}
