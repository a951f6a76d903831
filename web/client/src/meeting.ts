// What an application holds: a meeting that it has joined. Everything that takes time happens in the worker behind it.

import { DarkTowerError } from "./error.ts";
import type { RequestName, Requests, ToPage } from "./messages.ts";
import { type Observable, Source } from "./observable.ts";
import type { AudioState } from "./loudspeaker.ts";
import { type AutoSubscribe, Playback } from "./playback.ts";
import { canReadTracks, type Publication, Publishing, type PublishSource } from "./publishing.ts";
import type { Quality } from "./quality.ts";
import type { EncryptionInfo } from "./secret.ts";
import type { MeetingStats } from "./stats.ts";
import type {
  ChatMessage,
  EncodedFrame,
  EndReason,
  JoinTicket,
  MediaStreamInfo,
  MeetingEvent,
  MeetingEvents,
  MeetingInfo,
  MeetingState,
  Participant,
  PublishOptions,
  StreamType,
  SubscriptionOptions,
  TicketReason,
  TicketSource,
} from "./types.ts";

/** Longest chat message, in bytes of UTF-8. */
export const CHAT_BYTES_MAX = 4096;
/** Longest name, in characters. */
export const NAME_CHARACTERS_MAX = 64;
/** So many chat messages are kept in `Meeting.chat`, the newest; a controller's history is 100. */
export const CHAT_KEPT_MAX = 1000;
/** A worker that was asked to end and has not by now is stopped from outside. */
const WORKER_ENDS_WITHIN_MS = 1000;

/** What `join` takes. */
export interface JoinOptions {
  /**
   * A ticket, or how to get one. With a `TicketSource` the client comes back by itself, as a new participant in the same `Meeting`, when
   * it was away for longer than a session can be resumed.
   */
  ticket: JoinTicket | TicketSource;
  /** Under which the others see one, unless the ticket names another; at most `NAME_CHARACTERS_MAX` characters. */
  displayName: string;
  /** Where `worker.js` of this package is served; same origin as the page. */
  workerUrl?: string;
  /** Where `audio-worklet.js` of this package is served. */
  audioWorkletUrl?: string;
  /**
   * What to receive of others: `true` (the default), everything; `"visible"`, sound of everybody and the pictures that are attached to an
   * element somebody can see, or read as frames; `false`, what is subscribed to.
   */
  autoSubscribe?: AutoSubscribe;
  /** What the others are told at first; `setMuted` changes it. */
  isMuted?: boolean;
  /** What the others are told at first; `setVideoOn` changes it. */
  isVideoOn?: boolean;
  /**
   * Of an encrypted meeting: 32 bytes, from `secretFromUrl` or the application. With it everything said and shown is encrypted end to end; the
   * meeting is entered only if it asks for that (`NOT_ENCRYPTED`) and goes by the same secret (`WRONG_SECRET`). A meeting that asks for
   * encryption is not entered without one (`SECRET_MISSING`).
   */
  secret?: Uint8Array;
  /** Plays received sound, at 48 kHz; without it none is played. Stays the application's. */
  audioContext?: AudioContext;
}

/** What `on` takes. */
export type Listener<K extends keyof MeetingEvents> = (detail: MeetingEvents[K]) => void;

/** What a browser can do. */
export interface Support {
  /** Take part: see, hear, say, and publish frames where there is an encoder. */
  receive: boolean;
  /** Publish tracks: camera, microphone, screen. */
  publish: boolean;
}

/** What this browser can do here; `publish`: tracks. Frames can be published wherever there is an encoder. */
export function support(): Support {
  const receive = typeof WebTransport !== "undefined" && typeof VideoDecoder !== "undefined" && typeof OffscreenCanvas !== "undefined";
  return { receive, publish: receive && typeof VideoEncoder !== "undefined" && canReadTracks() };
}

/** Joins a meeting. Rejects with a `DarkTowerError`. */
export async function join(options: JoinOptions): Promise<Meeting> {
  if (!support().receive) {
    throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser has no WebTransport, WebCodecs or OffscreenCanvas");
  }
  const { ticket } = options;
  const source = typeof ticket === "function" ? ticket : undefined;
  const first = typeof ticket === "function" ? await ticketFrom(ticket, "join") : ticket;
  const meeting = new Meeting(new Worker(options.workerUrl ?? "/worker.js", { type: "module" }), source);
  try {
    await meeting.start(options, first);
  } catch (thrown) {
    meeting.close();
    throw thrown;
  }
  return meeting;
}

/** A ticket of the application's, whose faults become ours. */
async function ticketFrom(source: TicketSource, why: TicketReason): Promise<JoinTicket> {
  try {
    return await source(why);
  } catch (thrown) {
    throw DarkTowerError.from(thrown);
  }
}

function over(): DarkTowerError {
  return new DarkTowerError("ENDED", "the meeting is over");
}

/** Nobody yet: what `me` is before the controller has answered. */
const NOBODY: Participant = {
  participantId: "",
  name: "",
  role: "attendee",
  isMuted: false,
  isVideoOn: false,
  joinedAt: 0,
  streams: [],
};

/** A meeting that this page is in. Made by `join`; over by `leave`, `close` or the event "ended". */
export class Meeting {
  /** What the meeting was created with. */
  info: MeetingInfo = { displayName: "", maxParticipants: 0, wantsEndToEndEncryption: false, mayBeRecorded: false };
  /** How to tell that everybody holds the same secret; `undefined`: the meeting is not encrypted end to end. */
  encryption: EncryptionInfo | undefined;
  private readonly sources = {
    state: new Source<MeetingState>("connected"),
    me: new Source<Participant>(NOBODY),
    participants: new Source<ReadonlyMap<string, Participant>>(new Map()),
    chat: new Source<readonly ChatMessage[]>([]),
    audio: new Source<AudioState>("off"),
    quality: new Source<Quality>({ level: "good", rttMs: undefined, reason: "" }),
    stats: new Source<MeetingStats | undefined>(undefined),
  };
  /** Whether signaling stands. Media goes on while it is being resumed. */
  readonly state: Observable<MeetingState> = this.sources.state;
  /** Oneself: name, role, what is on, and what one publishes. `participantId` is another one after "rejoined". */
  readonly me: Observable<Participant> = this.sources.me;
  /** The others, by id, as the controller says, with the media streams that they publish. */
  readonly participants: Observable<ReadonlyMap<string, Participant>> = this.sources.participants;
  /** Oldest first: what the meeting's history had at the join, then what was said; the newest `CHAT_KEPT_MAX`. */
  readonly chat: Observable<readonly ChatMessage[]> = this.sources.chat;
  /** Whether received sound is heard: "blocked" until `resumeAudio`, "off" without an AudioContext. */
  readonly audio: Observable<AudioState> = this.sources.audio;
  /** How good the connection is, with the reason when it is not good. */
  readonly quality: Observable<Quality> = this.sources.quality;
  /** New each second; `undefined` before the first. */
  readonly stats: Observable<MeetingStats | undefined> = this.sources.stats;
  private readonly worker: Worker;
  private readonly ticketSource: TicketSource | undefined;
  private readonly pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: DarkTowerError) => void }>();
  private readonly listeners = new Map<keyof MeetingEvents, Set<(detail: never) => void>>();
  private readonly publishing = new Publishing({
    request: (name, value, transfer) => this.request(name, value, transfer),
    emit: (event) => this.tell(event),
  });
  private nextId = 1;
  private endReason: EndReason | undefined;
  private isClosed = false;
  private playback: Playback | undefined;

  /** @internal Use `join`. */
  constructor(worker: Worker, ticketSource: TicketSource | undefined) {
    this.worker = worker;
    this.ticketSource = ticketSource;
    worker.onmessage = ({ data }: MessageEvent<ToPage>) => this.receive(data);
    worker.onerror = (event) => {
      const error = new DarkTowerError("INTERNAL_ERROR", event.message || "the worker did not start");
      for (const { reject } of this.pending.values()) reject(error);
      this.pending.clear();
    };
  }

  /** One's own id. */
  get participantId(): string {
    return this.me.value.participantId;
  }

  /** Nothing comes any more, and nothing can be asked. */
  get isOver(): boolean {
    return this.endReason !== undefined;
  }

  /** Calls `listener` from now on; returns how to stop that. */
  on<K extends keyof MeetingEvents>(type: K, listener: Listener<K>): () => void {
    const set = this.listeners.get(type) ?? new Set();
    this.listeners.set(type, set);
    set.add(listener);
    return () => void set.delete(listener);
  }

  /** @internal */
  async start(options: JoinOptions, ticket: JoinTicket): Promise<void> {
    const autoSubscribe = options.autoSubscribe ?? true;
    const playback = new Playback({
      autoSubscribe,
      audioContext: options.audioContext,
      audioWorkletUrl: options.audioWorkletUrl ?? "/audio-worklet.js",
      request: (name, value, transfer) => this.request(name, value, transfer),
    });
    this.playback = playback;
    playback.speaker.state.subscribe((state) => this.sources.audio.set(state));
    const audioPort = await playback.speaker.open();
    const { protocol, origin } = globalThis.location;
    const answer = await this.request(
      "join",
      {
        ticket,
        canRejoin: this.ticketSource !== undefined,
        displayName: options.displayName,
        autoSubscribe: autoSubscribe !== false,
        plainOrigin: protocol === "http:" ? origin : "",
        isMuted: options.isMuted ?? false,
        isVideoOn: options.isVideoOn ?? false,
        audioPort,
        secret: options.secret,
      },
      audioPort === undefined ? [] : [audioPort],
    );
    this.info = answer.info;
    for (const { streams } of answer.participants) for (const stream of streams) playback.published(stream);
    this.sources.me.set(answer.me);
    this.encryption = answer.encryption;
    // Events may have overtaken the answer; what they told stands.
    const { participants, chat } = this.sources;
    participants.set(new Map([...answer.participants.map((it) => [it.participantId, it] as const), ...participants.value]));
    const known = new Set(chat.value.map((message) => message.sequence));
    chat.set([...answer.chat.filter((message) => !known.has(message.sequence)), ...chat.value].slice(-CHAT_KEPT_MAX));
  }

  /**
   * Publishes a camera, microphone, screen or canvas, frames from anywhere, or what is encoded already. Resolves once the others can receive it.
   * A track stays the caller's; stop it after the publication.
   */
  publish(source: PublishSource, type: StreamType, options: PublishOptions = {}): Promise<Publication> {
    return this.publishing.publish(source, type, options);
  }

  /**
   * Receives a media stream, or goes on to receive it with other options. Under `autoSubscribe: "visible"` it stays subscribed from then on,
   * seen or not.
   */
  subscribe(streamId: string, options: SubscriptionOptions = {}): Promise<void> {
    return this.incoming.subscribe(streamId, options);
  }

  /** Receives it no more, until `subscribe`. */
  unsubscribe(streamId: string): Promise<void> {
    return this.incoming.unsubscribe(streamId);
  }

  /**
   * Shows the pictures of a media stream on an element, in place of what it showed. A canvas belongs to the client from then on (its
   * control is transferred), and may be attached again and again; a media stream may be on several elements.
   */
  attach(streamId: string, element: HTMLCanvasElement | HTMLVideoElement): Promise<void> {
    return this.incoming.attach(streamId, element);
  }

  /** Takes it off this element, or off all. A canvas keeps the last picture. */
  detach(streamId: string, element?: HTMLCanvasElement | HTMLVideoElement): Promise<void> {
    return this.incoming.detach(streamId, element);
  }

  /** A media stream as one track, for anything that takes tracks. Sound taken so is no longer in the mix that `audioContext` plays. */
  mediaStream(streamId: string): Promise<MediaStream> {
    return this.incoming.mediaStream(streamId);
  }

  /** Decoded frames at their moment, to be closed by who reads them. Who reads slowly loses the oldest. */
  frames(streamId: string): ReadableStream<VideoFrame | AudioData> {
    return this.incoming.frames(streamId);
  }

  /** Frames as they were published, in decoding order, nothing decoded. Who reads slowly goes on at a key frame. */
  encodedFrames(streamId: string): ReadableStream<EncodedFrame> {
    return this.incoming.encodedFrames(streamId);
  }

  /** Lets received sound be heard where the browser waits for a click ("blocked"). Call it in that click. */
  resumeAudio(): Promise<void> {
    return this.incoming.speaker.resume();
  }

  /** Plays received sound through this output device (`MediaDeviceInfo.deviceId`); empty: the system's choice. */
  setSpeaker(deviceId: string): Promise<void> {
    return this.incoming.speaker.setSpeaker(deviceId);
  }

  /**
   * Canvases keep what they show for so long; all else goes on. For a page that may be about to go ("beforeunload"): where there is no GPU, Chromium
   * draws in a worker only with the help of the page's own thread, and the worker would wait for it instead of saying goodbye.
   */
  holdPictures(forMs: number): Promise<void> {
    return this.request("holdPictures", { forMs });
  }

  /** Resolves once the message is stored; sent again after a reconnect, and still stored once. */
  sendChat(content: string): Promise<ChatMessage> {
    return this.request("chat", { clientMessageId: crypto.randomUUID(), content });
  }

  /** While muted no sound is sent. */
  setMuted(isMuted: boolean): Promise<void> {
    return this.request("state", { isMuted });
  }

  /** Tells the others; publishing and stopping the camera is apart. */
  setVideoOn(isVideoOn: boolean): Promise<void> {
    return this.request("state", { isVideoOn });
  }

  /** For hosts. */
  kick(participantId: string): Promise<void> {
    return this.request("kick", { participantId });
  }

  /** Says something to another participant's application (event "relay" there): 48 KiB at most, once or not at all. */
  relay(targetId: string, kind: string, payload: Uint8Array): Promise<void> {
    return this.request("relay", { targetId, kind, payload });
  }

  /** Leaves: the others are told, then everything ends as by `close`. Takes a second at most. */
  async leave(): Promise<void> {
    if (!this.isOver) await this.request("leave", {}).catch(() => undefined);
    this.close();
  }

  /** Ends everything at once, without a word: the others see the participant go when the time for resuming is over. */
  close(): void {
    if (!this.isOver) {
      this.endReason = "left";
      this.sources.state.set("ended");
    }
    if (this.isClosed) return;
    this.playback?.close();
    this.publishing.close();
    // It ends itself, in order: its sessions are closed before it goes, and its codecs have given their frames back.
    void this.request("close", {}).catch(() => undefined);
    setTimeout(() => this.worker.terminate(), WORKER_ENDS_WITHIN_MS);
    this.isClosed = true;
    for (const { reject } of this.pending.values()) reject(over());
    this.pending.clear();
  }

  private get incoming(): Playback {
    if (this.playback === undefined) throw over();
    return this.playback;
  }

  private request<K extends RequestName>(
    name: K,
    value: Requests[K]["takes"],
    transfer: Transferable[] = [],
  ): Promise<Requests[K]["gives"]> {
    // There is no worker any more that would answer.
    if (this.isClosed) return Promise.reject(over());
    const id = this.nextId;
    this.nextId += 1;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.worker.postMessage({ id, name, value }, transfer);
    });
  }

  private receive(message: ToPage): void {
    if (message.kind === "event") {
      this.tell(message.event);
      return;
    }
    if (message.kind === "me") {
      this.sources.me.set(message.me);
      return;
    }
    if (message.kind === "ticket-wanted") {
      void this.fetchTicket(message.wish);
      return;
    }
    if (message.kind === "frames-missing") {
      this.publishing.framesMissing(message.publicationId);
      return;
    }
    const pending = this.pending.get(message.id);
    this.pending.delete(message.id);
    if (message.kind === "answer") pending?.resolve(message.value);
    else pending?.reject(DarkTowerError.fromData(message.error));
  }

  private async fetchTicket(wish: number): Promise<void> {
    const source = this.ticketSource;
    if (source === undefined) return;
    const outcome = await ticketFrom(source, "rejoin").then(
      (ticket) => ({ ticket }),
      (thrown: unknown) => ({ error: DarkTowerError.from(thrown).toData() }),
    );
    // Over meanwhile: nobody waits for it.
    if (!this.isOver) await this.request("ticket", { wish, outcome }).catch(() => undefined);
  }

  private tell(event: MeetingEvent): void {
    this.apply(event);
    this.publishing.apply(event);
    for (const listener of this.listeners.get(event.type) ?? []) listener(event.detail as never);
    // Whoever does not call `close` leaves no worker behind.
    if (event.type === "ended") this.close();
  }

  /** Keeps the mirror of what the worker knows. */
  private apply({ type, detail }: MeetingEvent): void {
    const { state, chat, quality, stats } = this.sources;
    if (type === "participant-joined" || type === "participant-updated") {
      this.changePeople((people) => people.set(detail.participantId, detail));
    } else if (type === "participant-left") {
      this.changePeople((people) => people.delete(detail.participantId));
    } else if (type === "stream-published") {
      this.changeStreams(detail.participantId, (streams) => [...streams.filter((it) => it.streamId !== detail.streamId), detail]);
      this.playback?.published(detail);
    } else if (type === "stream-unpublished") {
      this.changeStreams(detail.participantId, (streams) => streams.filter((it) => it.streamId !== detail.streamId));
      this.playback?.unpublished(detail.streamId);
    } else if (type === "chat") {
      chat.set([...chat.value, detail].slice(-CHAT_KEPT_MAX));
    } else if (type === "quality") {
      quality.set(detail);
    } else if (type === "stats") {
      stats.set(detail);
    } else if (type === "connection") {
      state.set(detail.state);
    } else if (type === "ended") {
      this.endReason = detail.reason;
      state.set("ended");
    }
  }

  private changePeople(change: (people: Map<string, Participant>) => void): void {
    const people = new Map(this.sources.participants.value);
    change(people);
    this.sources.participants.set(people);
  }

  private changeStreams(participantId: string, change: (streams: MediaStreamInfo[]) => MediaStreamInfo[]): void {
    const participant = this.participants.value.get(participantId);
    if (participant === undefined) return;
    this.changePeople((people) => people.set(participantId, { ...participant, streams: change(participant.streams) }));
  }
}
