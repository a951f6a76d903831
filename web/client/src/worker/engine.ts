// A participant's whole stay in a meeting, inside the worker: join, roster, resume, publications, subscriptions, leave.
// In: requests of the page, messages of the controller. Out: answers and events. Draws and plays through its subscriptions.

import { backoffMs } from "../backoff.ts";
import { leaveReasonFromWire, meetingInfoFromWire, muteRequestFromWire, participantFromWire, streamFromWire } from "../convert.ts";
import { DarkTowerError, type ErrorCode } from "../error.ts";
import { type JoinResponse, type MediaServerInfo, type Reconnect } from "../generated/darktower/v1/signaling_pb.ts";
import type { JoinArguments, Requests } from "../messages.ts";
import { describeOneself } from "../oneself.ts";
import { judgeQuality } from "../quality.ts";
import { Roster } from "../roster.ts";
import type { ChatMessage, EndReason, MeetingEvent, Participant } from "../types.ts";
import type { End } from "./channel.ts";
import { ChatLog } from "./chat-log.ts";
import { delay } from "./deadline.ts";
import { Addresses } from "./dialler.ts";
import { Encryption, refusalOf } from "./encryption.ts";
import { MediaLink } from "./media-link.ts";
import { Publications } from "./publications.ts";
import { type ClientBody, type ServerBody, SignalingSession } from "./signaling.ts";
import { Subscriptions } from "./subscriptions.ts";
import { TicketWishes } from "./ticket-wishes.ts";

/** The controller speaks each second; a silence half as long again is worth a second way (DESIGN section 4). */
const SILENCE_MS = 1500;
const WATCH_INTERVAL_MS = 250;
/** Unless the controller names another; on a WebSocket it takes three seconds without a message for a loss. */
const PING_INTERVAL_MS = 1000;
/** The window is five seconds from when the controller notices; later only a new join helps. */
const RESUME_FOR_MS = 12_000;
const LEVEL_INTERVAL_MS = 100;
const STATS_INTERVAL_MS = 1000;
/** At most two a second are allowed (DESIGN section 4). */
const SPEAKING_REPORT_INTERVAL_MS = 500;
/** Refusals of a resume that will not get better. */
const HOPELESS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "UNAUTHORIZED",
  "FORBIDDEN",
  "NOT_FOUND",
  "WRONG_SECRET",
  "SECRET_MISSING",
  "NOT_ENCRYPTED",
]);

/** What the engine tells the page unasked. */
export interface EngineEvents {
  emit(event: MeetingEvent): void;
  /** Oneself is another than before. */
  me(me: Participant): void;
  /** The page answers with `ticket`. */
  wantTicket(wish: number): void;
}

export class Engine {
  private readonly events: EngineEvents;
  private readonly emit: (event: MeetingEvent) => void;
  private readonly wishes: TicketWishes;
  private readonly roster = new Roster();
  readonly publications: Publications;
  private readonly subscriptions: Subscriptions;
  private readonly unsubscribed = new Set<string>();
  private readonly chatLog: ChatLog;
  private readonly timers: ReturnType<typeof setInterval>[] = [];
  private args: JoinArguments | undefined;
  private encryption: Encryption | undefined;
  private addresses: Addresses | undefined;
  private link: MediaLink | undefined;
  private session: SignalingSession | undefined;
  private sessionWaiters: (() => void)[] = [];
  private participantId = "";
  private resumeToken = "";
  /** Milliseconds since the epoch, by this machine's clock. */
  private joinedAt = 0;
  private isMuted = false;
  private isVideoOn = false;
  private resuming = false;
  private over = false;
  private rttMs: number | undefined;
  private packetLoss = 0;
  private mediaState: "connected" | "connecting" | "lost" = "connecting";
  private groupsAborted = 0;
  private speaking = false;
  private spokeAtMs = -Infinity;

  constructor(events: EngineEvents) {
    this.events = events;
    const emit = (event: MeetingEvent): void => events.emit(event);
    this.emit = emit;
    this.wishes = new TicketWishes((wish) => events.wantTicket(wish));
    this.publications = new Publications({
      emit,
      session: () => this.link?.session,
      cipher: (streamId) => this.encryption?.sealer(streamId),
      request: (body) => this.request(body),
      changed: () => this.events.me(this.me()),
      groupAborted: () => void (this.groupsAborted += 1),
    });
    this.chatLog = new ChatLog({ emit, encryption: () => this.encryption });
    this.subscriptions = new Subscriptions({ emit, requestKeyFrame: (streamId) => this.link?.session?.requestKeyFrame(streamId) });
  }

  async join(args: JoinArguments): Promise<Requests["join"]["gives"]> {
    // The secret stays nowhere but in keys that cannot be read out.
    this.args = { ...args, secret: undefined };
    this.isMuted = args.isMuted;
    this.isVideoOn = args.isVideoOn;
    this.publications.setMuted(args.isMuted);
    this.subscriptions.audioPort = args.audioPort;
    const addresses = new Addresses(args.ticket, args.plainOrigin);
    this.addresses = addresses;
    this.link = this.newLink(addresses);
    const [handlerUrl] = args.ticket.media_handler_urls ?? [];
    if (handlerUrl !== undefined) this.link.dialAhead(handlerUrl);
    try {
      if (args.secret !== undefined) this.encryption = await Encryption.of(args.secret, args.ticket.meeting_id);
      const session = new SignalingSession(await addresses.dial());
      const answer = await this.sendJoin(session, { joinToken: args.ticket.join_token, resumeToken: "" });
      this.joinedAt = Date.now();
      this.adopt(session, answer);
      const snapshot = answer.existingParticipants.map(participantFromWire);
      for (const event of this.roster.replace(snapshot)) this.follow(event);
      const chat = await this.chatLog.history(answer.chat);
      if (answer.mediaServer !== undefined) void this.link.use(answer.mediaServer);
      this.tellState();
      this.timers.push(setInterval(() => this.watch(), WATCH_INTERVAL_MS));
      this.timers.push(setInterval(() => void this.ping(), answer.heartbeatIntervalMs || PING_INTERVAL_MS));
      this.timers.push(setInterval(() => this.reportLevels(), LEVEL_INTERVAL_MS));
      this.timers.push(setInterval(() => this.tellStats(), STATS_INTERVAL_MS));
      // In a turn of its own, behind the one that hands out the snapshot: what came meanwhile is newer.
      setTimeout(() => session.start((body) => this.receive(body)), 0);
      const info = meetingInfoFromWire(answer.meeting);
      return { me: this.me(), info, participants: snapshot, chat, encryption: this.encryption?.info };
    } catch (thrown) {
      this.shut();
      throw DarkTowerError.from(thrown, "CONNECTION_FAILED");
    }
  }

  async subscribe({ streamId }: { streamId: string }): Promise<void> {
    const stream = this.roster.streams.find((it) => it.streamId === streamId);
    if (stream === undefined) throw new DarkTowerError("NOT_FOUND", `there is no media stream ${streamId}`);
    this.unsubscribed.delete(streamId);
    this.subscriptions.add(stream);
    await this.request({ case: "subscribe", value: { streamId } });
  }

  async unsubscribe({ streamId }: { streamId: string }): Promise<void> {
    this.unsubscribed.add(streamId);
    this.subscriptions.remove(streamId);
    await this.request({ case: "unsubscribe", value: { streamId } });
  }

  attach({ streamId, canvas }: Requests["attach"]["takes"]): void {
    this.subscriptions.attach(streamId, canvas);
  }

  async chat({ clientMessageId, content: words }: Requests["chat"]["takes"]): Promise<ChatMessage> {
    const content = await this.chatLog.contentOf(this.participantId, clientMessageId, words);
    const body = await this.request({ case: "chat", value: { clientMessageId, content } });
    if (body.case !== "chat") throw new DarkTowerError("INTERNAL_ERROR", "a chat message was not answered by itself");
    return this.chatLog.heard(body.value);
  }

  async state(change: Requests["state"]["takes"]): Promise<void> {
    this.isMuted = change.isMuted ?? this.isMuted;
    this.isVideoOn = change.isVideoOn ?? this.isVideoOn;
    this.publications.setMuted(this.isMuted);
    this.events.me(this.me());
    await this.request({ case: "state", value: change });
  }

  async kick({ participantId }: Requests["kick"]["takes"]): Promise<void> {
    await this.request({ case: "kick", value: { participantId } });
  }

  async relay(value: Requests["relay"]["takes"]): Promise<void> {
    await this.request({ case: "relay", value });
  }

  /** The page has a ticket to come back with, or has none. */
  ticket({ wish, outcome }: Requests["ticket"]["takes"]): void {
    this.wishes.answer(wish, outcome);
  }

  async leave(): Promise<void> {
    // Leaving must not depend on an answer; but one that comes tells that the others know.
    await this.session?.request({ case: "leave", value: {} }, 1000).catch(() => undefined);
    this.end("left");
  }

  private me(): Participant {
    const { participantId, joinedAt, isMuted, isVideoOn } = this;
    const joinToken = this.args?.ticket.join_token ?? "";
    const displayName = this.args?.displayName ?? "";
    const streams = this.publications.streams(participantId);
    return describeOneself({ participantId, joinToken, displayName, joinedAt, isMuted, isVideoOn, streams });
  }

  private newLink(addresses: Addresses): MediaLink {
    return new MediaLink(() => addresses.hashes, {
      sink: (streamId) => this.subscriptions.sinkOf(streamId),
      cipher: (streamId) => this.encryption?.opener(streamId),
      undecryptable: (streamId) => this.undecryptable(streamId),
      keyFrame: (streamId) => this.publications.requestKey(streamId),
      paused: (streamId, paused) => this.publications.setPaused(streamId, paused),
      report: (report) => this.subscriptions.report(report),
      requestServer: async (failedUrl): Promise<MediaServerInfo> => {
        const body = await this.request({ case: "mediaServer", value: { failedUrl } });
        if (body.case !== "mediaServer") throw new DarkTowerError("INTERNAL_ERROR", "the controller named no handler");
        addresses.learnHashes(body.value.certificateHashes);
        return body.value;
      },
      moved: () => this.publications.restart(),
      state: (state) => {
        this.mediaState = state;
        this.tellQuality();
      },
    });
  }

  private async sendJoin(session: SignalingSession, token: { joinToken: string; resumeToken: string }): Promise<JoinResponse> {
    const { args } = this;
    if (args === undefined) throw new DarkTowerError("INTERNAL_ERROR", "join was not called");
    const body = await session.request({
      case: "join",
      value: {
        ...token,
        meetingId: args.ticket.meeting_id,
        participantName: args.displayName,
        capabilities: { videoCodecs: ["VP8", "VP9", "AV1", "H264"], audioCodecs: ["Opus"] },
        autoSubscribe: args.autoSubscribe,
        chatAfterSequence: BigInt(this.chatLog.newest),
        e2eeKeyId: this.encryption?.info.keyId ?? "",
      },
    });
    if (body.case !== "join") throw new DarkTowerError("INTERNAL_ERROR", "a join was not answered by a join response");
    const { meeting, encryptionKeys } = body.value;
    const terms = { wantsEncryption: meeting?.enableE2eEncryption === true, keyId: encryptionKeys?.keyId ?? "" };
    const refusal = refusalOf(terms, this.encryption?.info);
    if (refusal === undefined) return body.value;
    // Whoever cannot take part is not to stand in the others' roster.
    await session.request({ case: "leave", value: {} }, 1000).catch(() => undefined);
    session.close("cannot take part");
    throw refusal;
  }

  /** A record of this frame id could not be opened, and was dropped. */
  private undecryptable(frameId: string): void {
    const failed = this.encryption?.opener(frameId).failed(performance.now());
    const stream = this.roster.streams.find((it) => it.frameIds.includes(frameId));
    if (failed === undefined || stream === undefined) return;
    const { streamId } = stream;
    if (failed.wantsKeyFrame && stream.type !== "audio") this.link?.session?.requestKeyFrame(streamId);
    if (failed.tell) this.emit({ type: "undecryptable", detail: { streamId, senderId: undefined } });
  }

  /** From now on `session` is the one. */
  private adopt(session: SignalingSession, answer: JoinResponse): void {
    const before = this.session;
    this.session = session;
    this.participantId = answer.participantId;
    this.resumeToken = answer.resumeToken;
    if (this.addresses !== undefined) {
      this.addresses.alternates = answer.alternateControllerUrls;
      if (answer.mediaServer !== undefined) this.addresses.learnHashes(answer.mediaServer.certificateHashes);
    }
    session.onEnd = (end) => this.sessionEnded(session, end);
    before?.close("a newer session stands");
    const waiters = this.sessionWaiters;
    this.sessionWaiters = [];
    for (const wake of waiters) wake();
  }

  /** Sends on the session that stands; waits for one while resuming, and sends again what a break left unanswered. */
  private async request(body: ClientBody): Promise<ServerBody> {
    for (;;) {
      if (this.over) throw new DarkTowerError("ENDED", "the meeting is over");
      const { session } = this;
      if (session === undefined || session.isOver) {
        await new Promise<void>((resolve) => this.sessionWaiters.push(resolve));
        continue;
      }
      try {
        return await session.request(body);
      } catch (thrown) {
        if (!session.isOver) throw thrown;
      }
    }
  }

  private receive(body: ServerBody): void {
    if (this.over) return;
    switch (body.case) {
      case "participantJoined":
        if (body.value.participant !== undefined) this.apply(this.roster.joined(participantFromWire(body.value.participant)));
        break;
      case "participantLeft":
        this.participantLeft(body.value.participantId, leaveReasonFromWire(body.value.reason));
        break;
      case "streamPublished":
        if (body.value.stream !== undefined) {
          this.apply(this.roster.published(streamFromWire(body.value.participantId, body.value.stream)));
        }
        break;
      case "streamUnpublished":
        this.apply(this.roster.unpublished(body.value.participantId, body.value.streamId));
        break;
      case "state":
        this.apply(this.roster.changed(body.value.participantId, body.value));
        break;
      case "chat":
        void this.chatLog.heard(body.value);
        break;
      case "muteRequest":
        this.emit({ type: "mute-requested", detail: muteRequestFromWire(body.value) });
        break;
      case "relay":
        this.emit({ type: "relay", detail: body.value });
        break;
      case "quality":
        this.packetLoss = body.value.packetLoss;
        this.publications.quality(body.value);
        break;
      case "mediaServer":
        this.addresses?.learnHashes(body.value.certificateHashes);
        void this.link?.use(body.value);
        break;
      case "reconnect":
        this.reconnect(body.value);
        break;
      default:
        // An unasked Pong tells by coming that the controller lives; the rest belongs to requests.
        break;
    }
  }

  private participantLeft(participantId: string, reason: ReturnType<typeof leaveReasonFromWire>): void {
    if (participantId !== this.participantId) {
      this.apply(this.roster.left(participantId, reason));
    } else if (reason === "kicked" || reason === "meeting-ended") {
      this.end(reason);
    }
  }

  private apply(events: MeetingEvent[]): void {
    for (const event of events) {
      this.follow(event);
      this.emit(event);
    }
  }

  /** Opens and closes subscriptions with the media streams they belong to. */
  private follow(event: MeetingEvent): void {
    if (event.type === "stream-published") {
      const wanted = this.args?.autoSubscribe === true && !this.unsubscribed.has(event.detail.streamId);
      if (wanted) this.subscriptions.add(event.detail);
    } else if (event.type === "stream-unpublished") {
      this.subscriptions.remove(event.detail.streamId);
      this.subscriptions.attach(event.detail.streamId, undefined);
    }
  }

  private tellState(): void {
    const { isMuted, isVideoOn } = this;
    void this.request({ case: "state", value: { isMuted, isVideoOn } }).catch(() => undefined);
  }

  private watch(): void {
    const { session } = this;
    if (session === undefined || this.over || this.resuming) return;
    if (session.isOver || performance.now() - session.heardAtMs > SILENCE_MS) void this.resume();
  }

  private async ping(): Promise<void> {
    const { session } = this;
    if (session === undefined || session.isOver) return;
    const sentAtMs = performance.now();
    try {
      await session.request({ case: "ping", value: { sentAtUs: BigInt(Math.round(sentAtMs * 1000)) } }, 5000);
    } catch {
      return;
    }
    const rttMs = performance.now() - sentAtMs;
    this.rttMs = this.rttMs === undefined ? rttMs : this.rttMs + (rttMs - this.rttMs) / 4;
    this.tellQuality();
    // A group given up weighs for a few pings, not for ever.
    this.groupsAborted = Math.floor(this.groupsAborted / 2);
  }

  private tellQuality(): void {
    if (this.over) return;
    const { rttMs, packetLoss, mediaState: media, groupsAborted } = this;
    const signaling = this.resuming ? "reconnecting" : "connected";
    this.emit({ type: "quality", detail: judgeQuality({ rttMs, packetLoss, signaling, media, groupsAborted }) });
  }

  private tellStats(): void {
    const nowMs = performance.now();
    this.emit({
      type: "stats",
      detail: {
        atMs: Math.round(performance.timeOrigin + nowMs),
        signaling: this.session?.kind ?? "webtransport",
        rttMs: this.rttMs,
        handlerUrl: this.link?.session?.url ?? "",
        publications: this.publications.stats(nowMs),
        subscriptions: this.subscriptions.stats(nowMs),
      },
    });
  }

  private reportLevels(): void {
    const nowMs = performance.now();
    this.subscriptions.reportLevels(nowMs);
    for (const { streamId, level, speaking } of this.publications.levels(nowMs)) {
      this.emit({ type: "audio-level", detail: { streamId, participantId: this.participantId, level, speaking } });
      if (speaking !== this.speaking && nowMs - this.spokeAtMs >= SPEAKING_REPORT_INTERVAL_MS) {
        this.speaking = speaking;
        this.spokeAtMs = nowMs;
        this.session?.notify({ case: "state", value: { audioLevel: speaking ? level : 0 } });
      }
    }
  }

  private sessionEnded(session: SignalingSession, end: End): void {
    if (session !== this.session || this.over) return;
    // While resuming it is our own newer session that took over, and its answer is on the way.
    if (end.code === "MOVED" && this.resuming) return;
    if (end.code === "NORMAL") this.end("meeting-ended");
    else if (end.code === "MOVED") this.end("moved");
    else if (end.code === "FORBIDDEN") this.end("kicked");
    else void this.resume();
  }

  /** Dials anew, beside the silent session if it is still there; the first to speak wins. */
  private async resume(): Promise<void> {
    const { addresses } = this;
    if (this.resuming || this.over || addresses === undefined) return;
    this.resuming = true;
    this.emit({ type: "connection", detail: { state: "reconnecting" } });
    this.tellQuality();
    const untilMs = performance.now() + RESUME_FOR_MS;
    let failure: DarkTowerError | undefined;
    for (let attempt = 0; performance.now() < untilMs && !this.over; attempt += 1) {
      await delay(backoffMs(attempt, Math.random()));
      if (this.spokeAgain()) break;
      try {
        const session = new SignalingSession(await addresses.dial());
        if (this.spokeAgain() || this.over) {
          session.close("the older session lives");
          break;
        }
        const answer = await this.sendJoin(session, { joinToken: "", resumeToken: this.resumeToken });
        if (this.over) {
          session.close("left");
          break;
        }
        this.resumed(session, answer);
        break;
      } catch (thrown) {
        failure = DarkTowerError.from(thrown);
        // The token will not get better.
        if (HOPELESS.has(failure.code)) break;
      }
    }
    this.resuming = false;
    if (this.over) return;
    if (this.session === undefined || this.session.isOver) {
      this.end("connection-lost", failure);
      return;
    }
    this.emit({ type: "connection", detail: { state: "connected" } });
    this.tellQuality();
  }

  private spokeAgain(): boolean {
    return this.session !== undefined && !this.session.isOver && performance.now() - this.session.heardAtMs < SILENCE_MS;
  }

  private resumed(session: SignalingSession, answer: JoinResponse): void {
    this.adopt(session, answer);
    const everybody = answer.existingParticipants.map(participantFromWire);
    const own = everybody.find((participant) => participant.participantId === this.participantId);
    this.apply(this.roster.replace(everybody.filter((participant) => participant !== own)));
    for (const message of answer.chat) void this.chatLog.heard(message);
    session.start((body) => this.receive(body));
    this.publications.announceAgain(new Set(own?.streams.map((stream) => stream.streamId)));
    if (own?.isMuted !== this.isMuted || own.isVideoOn !== this.isVideoOn) this.tellState();
    if (answer.mediaServer !== undefined) void this.link?.confirm(answer.mediaServer);
  }

  /** The controller asks to go elsewhere; the session here stands until the new one does. */
  private reconnect(message: Reconnect): void {
    if (message.mediaServer !== undefined) {
      this.addresses?.learnHashes(message.mediaServer.certificateHashes);
      void this.link?.use(message.mediaServer);
    }
    const { addresses } = this;
    if (message.meetingControllerUrl === "" || addresses === undefined) return;
    addresses.controllerUrl = message.meetingControllerUrl;
    addresses.learnHashes(message.certificateHashes);
    void (async () => {
      try {
        const session = new SignalingSession(await addresses.dial());
        this.resumed(session, await this.sendJoin(session, { joinToken: "", resumeToken: this.resumeToken }));
      } catch {
        // The session here still stands; when it ends, resuming tries the same address.
      }
    })();
  }

  private end(reason: EndReason, error?: DarkTowerError): void {
    if (this.over) return;
    this.shut();
    this.emit({ type: "ended", detail: { reason, error: error?.toData() } });
  }

  private shut(): void {
    this.over = true;
    for (const timer of this.timers) clearInterval(timer);
    this.publications.close();
    this.subscriptions.close();
    this.link?.close();
    this.session?.close("left");
    for (const wake of this.sessionWaiters) wake();
  }
}
