// What an application holds: a meeting that it has joined. Everything that takes time happens in the worker behind it.

import { DarkTowerError } from "./error.ts";
import type { RequestName, Requests, ToPage } from "./messages.ts";
import { type Observable, Source } from "./observable.ts";
import type { Quality } from "./quality.ts";
import type { MeetingStats } from "./stats.ts";
import type {
  ChatMessage,
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
} from "./types.ts";

/** Longest chat message, in bytes of UTF-8. */
export const CHAT_BYTES_MAX = 4096;
/** Longest name, in characters. */
export const NAME_CHARACTERS_MAX = 64;

export interface JoinOptions {
  ticket: JoinTicket;
  displayName: string;
  /** Where `worker.js` of this package is served; same origin as the page. */
  workerUrl?: string;
  /** Where `audio-worklet.js` of this package is served. */
  audioWorkletUrl?: string;
  /** All present and future media streams of others; the default. */
  autoSubscribe?: boolean;
  isMuted?: boolean;
  isVideoOn?: boolean;
  /** Plays received sound; without it none is played. */
  audioContext?: AudioContext;
}

/** A media stream of ours that others receive. */
export interface Publication {
  readonly streamId: string;
  readonly type: StreamType;
  stop(): Promise<void>;
}

/** What `on` takes. */
export type Listener<K extends keyof MeetingEvents> = (detail: MeetingEvents[K]) => void;

/** Chromium's source of frames; not yet in TypeScript's library for the window. */
interface TrackProcessor {
  readonly readable: ReadableStream;
}
type TrackProcessorConstructor = new (options: { track: MediaStreamTrack }) => TrackProcessor;

function trackProcessor(): TrackProcessorConstructor | undefined {
  return (globalThis as { MediaStreamTrackProcessor?: TrackProcessorConstructor }).MediaStreamTrackProcessor;
}

/** What this browser can do here. */
export function support(): { receive: boolean; publish: boolean } {
  const receive = typeof WebTransport !== "undefined" && typeof VideoDecoder !== "undefined" && typeof OffscreenCanvas !== "undefined";
  return { receive, publish: receive && typeof VideoEncoder !== "undefined" && trackProcessor() !== undefined };
}

/** Joins a meeting. Rejects with a `DarkTowerError`. */
export async function join(options: JoinOptions): Promise<Meeting> {
  if (!support().receive) {
    throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser has no WebTransport, WebCodecs or OffscreenCanvas");
  }
  const meeting = new Meeting(new Worker(options.workerUrl ?? "/worker.js", { type: "module" }));
  try {
    await meeting.start(options);
  } catch (thrown) {
    meeting.dispose();
    throw thrown;
  }
  return meeting;
}

export class Meeting {
  /** One's own id. */
  participantId = "";
  /** What the meeting was created with. */
  info: MeetingInfo = { displayName: "", maxParticipants: 0, wantsEndToEndEncryption: false, mayBeRecorded: false };
  private readonly sources = {
    state: new Source<MeetingState>("connected"),
    participants: new Source<ReadonlyMap<string, Participant>>(new Map()),
    chat: new Source<readonly ChatMessage[]>([]),
    quality: new Source<Quality>({ level: "good", rttMs: undefined, reason: "" }),
    stats: new Source<MeetingStats | undefined>(undefined),
  };
  /** Whether signaling stands. Media goes on while it is being resumed. */
  readonly state: Observable<MeetingState> = this.sources.state;
  /** The others, by id, as the controller says, with the media streams that they publish. */
  readonly participants: Observable<ReadonlyMap<string, Participant>> = this.sources.participants;
  /** Oldest first: what the meeting's history had at the join, then what was said. */
  readonly chat: Observable<readonly ChatMessage[]> = this.sources.chat;
  readonly quality: Observable<Quality> = this.sources.quality;
  /** New each second; `undefined` before the first. */
  readonly stats: Observable<MeetingStats | undefined> = this.sources.stats;
  private readonly worker: Worker;
  private readonly pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: DarkTowerError) => void }>();
  private readonly listeners = new Map<keyof MeetingEvents, Set<(detail: never) => void>>();
  private nextId = 1;
  private endReason: EndReason | undefined;
  private mixer: AudioWorkletNode | undefined;

  /** Use `join`. */
  constructor(worker: Worker) {
    this.worker = worker;
    worker.onmessage = ({ data }: MessageEvent<ToPage>) => this.receive(data);
    worker.onerror = (event) => {
      const error = new DarkTowerError("INTERNAL_ERROR", event.message || "the worker did not start");
      for (const { reject } of this.pending.values()) reject(error);
      this.pending.clear();
    };
  }

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
  async start(options: JoinOptions): Promise<void> {
    const audioPort = await this.openMixer(options);
    const { protocol, origin } = globalThis.location;
    const answer = await this.request(
      "join",
      {
        ticket: options.ticket,
        displayName: options.displayName,
        autoSubscribe: options.autoSubscribe ?? true,
        plainOrigin: protocol === "http:" ? origin : "",
        isMuted: options.isMuted ?? false,
        isVideoOn: options.isVideoOn ?? false,
        audioPort,
      },
      audioPort === undefined ? [] : [audioPort],
    );
    this.participantId = answer.participantId;
    this.info = answer.info;
    // Events may have overtaken the answer; what they told stands.
    const { participants, chat } = this.sources;
    participants.set(new Map([...answer.participants.map((it) => [it.participantId, it] as const), ...participants.value]));
    const known = new Set(chat.value.map((message) => message.sequence));
    chat.set([...answer.chat.filter((message) => !known.has(message.sequence)), ...chat.value]);
  }

  /** Publishes a camera, microphone, screen or canvas. The track stays the caller's; stop it after the publication. */
  async publish(track: MediaStreamTrack, type: StreamType, options: PublishOptions = {}): Promise<Publication> {
    const Processor = trackProcessor();
    if (Processor === undefined) throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser has no MediaStreamTrackProcessor");
    const streamId = crypto.randomUUID();
    const { readable } = new Processor({ track });
    const { width = 0, height = 0, frameRate = 30 } = track.getSettings();
    await this.request("publish", { streamId, type, readable, width, height, frameRate, options }, [readable]);
    return { streamId, type, stop: () => this.request("unpublish", { streamId }) };
  }

  subscribe(streamId: string): Promise<void> {
    return this.request("subscribe", { streamId });
  }

  unsubscribe(streamId: string): Promise<void> {
    return this.request("unsubscribe", { streamId });
  }

  /** Draws the pictures of a media stream on `canvas`, which belongs to the worker from now on. */
  attach(streamId: string, canvas: HTMLCanvasElement): Promise<void> {
    const offscreen = canvas.transferControlToOffscreen();
    return this.request("attach", { streamId, canvas: offscreen }, [offscreen]);
  }

  detach(streamId: string): Promise<void> {
    return this.request("attach", { streamId, canvas: undefined });
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

  relay(targetId: string, kind: string, payload: Uint8Array): Promise<void> {
    return this.request("relay", { targetId, kind, payload });
  }

  async leave(): Promise<void> {
    if (!this.isOver) await this.request("leave", {}).catch(() => undefined);
    this.dispose();
  }

  /** Ends the worker and the sound, without a word to the others. */
  dispose(): void {
    this.mixer?.disconnect();
    this.worker.terminate();
    for (const { reject } of this.pending.values()) reject(new DarkTowerError("ENDED", "the meeting is over"));
    this.pending.clear();
  }

  private async openMixer({ audioContext, audioWorkletUrl }: JoinOptions): Promise<MessagePort | undefined> {
    if (audioContext === undefined) return undefined;
    try {
      await audioContext.audioWorklet.addModule(audioWorkletUrl ?? "/audio-worklet.js");
    } catch (thrown) {
      throw DarkTowerError.from(thrown, "UNSUPPORTED_BROWSER");
    }
    this.mixer = new AudioWorkletNode(audioContext, "dark-tower-mixer", { numberOfInputs: 0, outputChannelCount: [2] });
    this.mixer.connect(audioContext.destination);
    const { port1, port2 } = new MessageChannel();
    this.mixer.port.postMessage({ port: port1 }, [port1]);
    return port2;
  }

  private request<K extends RequestName>(
    name: K,
    value: Requests[K]["takes"],
    transfer: Transferable[] = [],
  ): Promise<Requests[K]["gives"]> {
    const id = this.nextId;
    this.nextId += 1;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.worker.postMessage({ id, name, value }, transfer);
    });
  }

  private receive(message: ToPage): void {
    if (message.kind === "event") {
      this.apply(message.event);
      const { type, detail } = message.event;
      for (const listener of this.listeners.get(type) ?? []) listener(detail as never);
      return;
    }
    const pending = this.pending.get(message.id);
    this.pending.delete(message.id);
    if (message.kind === "answer") pending?.resolve(message.value);
    else pending?.reject(DarkTowerError.fromData(message.error));
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
    } else if (type === "stream-unpublished") {
      this.changeStreams(detail.participantId, (streams) => streams.filter((it) => it.streamId !== detail.streamId));
    } else if (type === "chat") {
      chat.set([...chat.value, detail]);
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
