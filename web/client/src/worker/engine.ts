// A participant's whole stay in a meeting, inside the worker: puts its parts together and lets the page's requests in. In: requests of the page,
// sessions as they come to stand. Out: answers and events. What a part decides is the part's.

import { meetingInfoFromWire, participantFromWire } from "../convert.ts";
import { DarkTowerError } from "../error.ts";
import type { ChatMessage as WireChatMessage, JoinResponse, MediaServerInfo, Reconnect } from "../generated/darktower/v1/signaling_pb.ts";
import type { JoinArguments, Requests } from "../messages.ts";
import { describeOneself } from "../oneself.ts";
import { Roster } from "../roster.ts";
import type { ChatMessage, EndReason, JoinTicket, MeetingEvent, Participant } from "../types.ts";
import { Announcements } from "./announcements.ts";
import { ChatLog } from "./chat-log.ts";
import { Addresses } from "./dialler.ts";
import { decodableCodecs } from "./encoder-choice.ts";
import { Encryption, refusalOf } from "./encryption.ts";
import { MediaLink } from "./media-link.ts";
import { Monitor } from "./monitor.ts";
import { PendingRequests } from "./pending-requests.ts";
import { Publications } from "./publications.ts";
import { type ServerBody, SignalingSession } from "./signaling.ts";
import { type Credential, Standing } from "./standing.ts";
import { SubscriptionWishes } from "./subscription-wishes.ts";
import { Subscriptions } from "./subscriptions.ts";
import { TicketWishes } from "./ticket-wishes.ts";

/** A join makes a call to a handler; one that takes longer is tried elsewhere. */
const JOIN_TIMEOUT_MS = 5000;
/** Leaving must not depend on an answer; but one that comes tells that the others know. */
const LEAVE_TIMEOUT_MS = 1000;
/** Own earlier ids that are kept, so that one does not meet oneself. */
const FORMER_IDS_MAX = 16;

/** What the engine tells the page unasked. */
export interface EngineEvents {
  emit(event: MeetingEvent): void;
  /** Oneself is another than before. */
  me(me: Participant): void;
  /** The page answers with `ticket`. */
  wantTicket(wish: number): void;
  /** The page may answer with `relieve`. */
  framesMissing(publicationId: string): void;
}

export class Engine {
  readonly publications: Publications;
  private readonly events: EngineEvents;
  private readonly tickets: TicketWishes;
  private readonly roster = new Roster();
  readonly subscriptions: Subscriptions;
  readonly wishes: SubscriptionWishes;
  private readonly pending = new PendingRequests();
  private readonly chatLog: ChatLog;
  private readonly monitor: Monitor;
  private readonly announcements: Announcements;
  private args: JoinArguments | undefined;
  private ticketInUse: JoinTicket | undefined;
  private encryption: Encryption | undefined;
  private addresses: Addresses | undefined;
  private link: MediaLink | undefined;
  private standing: Standing | undefined;
  private participantId = "";
  private formerIds: string[] = [];
  /** Milliseconds since the epoch, by this machine's clock. */
  private joinedAt = 0;
  private isMuted = false;
  private isVideoOn = false;
  private over = false;

  constructor(events: EngineEvents) {
    this.events = events;
    const emit = (event: MeetingEvent): void => events.emit(event);
    this.tickets = new TicketWishes((wish) => events.wantTicket(wish));
    this.publications = new Publications({
      emit,
      session: () => this.link?.session,
      cipher: (streamId) => this.encryption?.sealer(streamId),
      request: (body, make) => this.pending.request(body, make),
      othersDecode: () => this.roster.participants.map((participant) => participant.videoCodecs ?? []),
      changed: () => this.tellMe(),
      groupAborted: () => this.monitor.groupAborted(),
      framesMissing: (publicationId) => events.framesMissing(publicationId),
    });
    this.chatLog = new ChatLog({ emit, encryption: () => this.encryption });
    this.subscriptions = new Subscriptions({
      emit,
      requestKeyFrame: (streamId) => this.link?.session?.requestKeyFrame(streamId),
      failed: (streamId) => void this.wishes.unsubscribe({ streamId }).catch(() => undefined),
    });
    this.wishes = new SubscriptionWishes(this.roster, this.subscriptions, (body) => this.pending.request(body));
    this.monitor = new Monitor({
      emit,
      session: () => this.standing?.session,
      link: () => this.link,
      participantId: () => this.participantId,
      publications: this.publications,
      subscriptions: this.subscriptions,
    });
    this.announcements = new Announcements(this.roster, {
      emit,
      follow: (event) => this.wishes.follow(event),
      chat: (message) => this.chatHeard(message),
      quality: (update) => {
        this.monitor.packetLoss(update.packetLoss);
        this.publications.quality(update);
      },
      mediaServer: (info) => this.useServer(info),
      reconnect: (message) => this.reconnect(message),
      removed: (reason) => this.end(reason, undefined),
    });
  }

  async join(args: JoinArguments): Promise<Requests["join"]["gives"]> {
    // The secret stays nowhere but in keys that cannot be read out.
    this.args = { ...args, secret: undefined };
    this.ticketInUse = args.ticket;
    this.isMuted = args.isMuted;
    this.isVideoOn = args.isVideoOn;
    this.publications.setMuted(args.isMuted);
    this.subscriptions.audioPort = args.audioPort;
    this.wishes.isAutomatic = args.autoSubscribe;
    try {
      const addresses = new Addresses(args.ticket, args.plainOrigin);
      this.addresses = addresses;
      this.link = this.newLink(addresses);
      this.dialAhead(args.ticket);
      if (args.secret !== undefined) this.encryption = await Encryption.of(args.secret, args.ticket.meeting_id);
      const session = new SignalingSession(await addresses.dial());
      const answer = await this.sendJoin(session, { joinToken: args.ticket.join_token, resumeToken: "" });
      this.participantId = answer.participantId;
      this.joinedAt = Date.now();
      this.standing = this.newStanding(session, answer, addresses);
      const snapshot = answer.existingParticipants.map(participantFromWire);
      for (const event of this.roster.replace(snapshot)) this.wishes.follow(event);
      const chat = await this.chatLog.history(answer.chat);
      if (answer.mediaServer !== undefined) this.link.use(answer.mediaServer);
      this.pending.stands(session, { isSame: true, published: new Set(), chat: new Map() });
      this.tellState();
      this.monitor.start(answer.heartbeatIntervalMs);
      // In a turn of its own, behind the one that hands out the snapshot: what came meanwhile is newer.
      setTimeout(() => session.start((body) => this.receive(body)), 0);
      const info = meetingInfoFromWire(answer.meeting);
      return { me: this.me(), info, participants: snapshot, chat, encryption: this.encryption?.info };
    } catch (thrown) {
      this.shut();
      throw DarkTowerError.from(thrown, "CONNECTION_FAILED");
    }
  }

  async chat({ clientMessageId, content: words }: Requests["chat"]["takes"]): Promise<ChatMessage> {
    // Sealed for whoever sends it, who may be another participant by then.
    const make = async () => {
      const content = await this.chatLog.contentOf(this.participantId, clientMessageId, words);
      return { case: "chat" as const, value: { clientMessageId, content } };
    };
    const body = await this.pending.request({ case: "chat", value: { clientMessageId } }, make);
    if (body.case !== "chat") throw new DarkTowerError("INTERNAL_ERROR", "a chat message was not answered by itself");
    return this.chatLog.heard(body.value);
  }

  async state(change: Requests["state"]["takes"]): Promise<void> {
    this.isMuted = change.isMuted ?? this.isMuted;
    this.isVideoOn = change.isVideoOn ?? this.isVideoOn;
    this.publications.setMuted(this.isMuted);
    this.tellMe();
    await this.pending.request({ case: "state", value: change });
  }

  async kick({ participantId }: Requests["kick"]["takes"]): Promise<void> {
    await this.pending.request({ case: "kick", value: { participantId } });
  }

  async relay(value: Requests["relay"]["takes"]): Promise<void> {
    await this.pending.request({ case: "relay", value });
  }

  /** The page has a ticket to come back with, or has none. */
  ticket({ wish, outcome }: Requests["ticket"]["takes"]): void {
    this.tickets.answer(wish, outcome);
  }

  async leave(): Promise<void> {
    // The controller may close the session before its answer is read.
    this.standing?.leaving();
    await this.standing?.session.request({ case: "leave", value: {} }, LEAVE_TIMEOUT_MS).catch(() => undefined);
    this.end("left", undefined);
  }

  private me(): Participant {
    const { participantId, joinedAt, isMuted, isVideoOn } = this;
    const joinToken = this.ticketInUse?.join_token ?? "";
    const displayName = this.args?.displayName ?? "";
    const streams = this.publications.streams(participantId);
    return describeOneself({ participantId, joinToken, displayName, joinedAt, isMuted, isVideoOn, streams });
  }

  private tellMe(): void {
    if (this.participantId !== "") this.events.me(this.me());
  }

  private tellState(): void {
    const { isMuted, isVideoOn } = this;
    void this.pending.request({ case: "state", value: { isMuted, isVideoOn } }).catch(() => undefined);
  }

  private dialAhead({ media_handler_urls: [url] = [] }: JoinTicket): void {
    if (url !== undefined) this.link?.dialAhead(url);
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
        const body = await this.pending.request({ case: "mediaServer", value: { failedUrl } });
        if (body.case !== "mediaServer") throw new DarkTowerError("INTERNAL_ERROR", "the controller named no handler");
        addresses.learnHashes(body.value.certificateHashes);
        return body.value;
      },
      moved: () => this.publications.restart(),
      state: (state) => this.monitor.mediaState(state),
    });
  }

  private newStanding(session: SignalingSession, answer: JoinResponse, addresses: Addresses): Standing {
    const ticket = async (): Promise<JoinTicket> => {
      const fresh = await this.tickets.want();
      this.dialAhead(fresh);
      return fresh;
    };
    return new Standing(session, answer, addresses, {
      ticket: this.args?.canRejoin === true ? ticket : undefined,
      join: (fresh, credential) => this.sendJoin(fresh, credential),
      stood: (...back) => this.stood(...back),
      state: (state) => {
        this.monitor.signalingState(state);
        if (state === "connected") this.pending.spoke();
        this.events.emit({ type: "connection", detail: { state } });
      },
      end: (reason, error) => this.end(reason, error),
    });
  }

  private async sendJoin(session: SignalingSession, credential: Credential): Promise<JoinResponse> {
    const { args } = this;
    if (args === undefined) throw new DarkTowerError("INTERNAL_ERROR", "join was not called");
    const value = {
      ...credential,
      meetingId: args.ticket.meeting_id,
      participantName: args.displayName,
      capabilities: { videoCodecs: await decodableCodecs(), audioCodecs: ["Opus"] },
      autoSubscribe: args.autoSubscribe,
      chatAfterSequence: BigInt(this.chatLog.newest),
      e2eeKeyId: this.encryption?.info.keyId ?? "",
    };
    const body = await session.request({ case: "join", value }, JOIN_TIMEOUT_MS);
    if (body.case !== "join") throw new DarkTowerError("INTERNAL_ERROR", "a join was not answered by a join response");
    const { meeting, encryptionKeys } = body.value;
    const terms = { wantsEncryption: meeting?.enableE2eEncryption === true, keyId: encryptionKeys?.keyId ?? "" };
    const refusal = refusalOf(terms, this.encryption?.info);
    if (refusal === undefined) return body.value;
    // Whoever cannot take part is not to stand in the others' roster.
    await session.request({ case: "leave", value: {} }, LEAVE_TIMEOUT_MS).catch(() => undefined);
    session.close("cannot take part");
    throw refusal;
  }

  /** Back on another session: as the same participant, or with `ticket` as a new one. */
  private stood(session: SignalingSession, answer: JoinResponse, ticket: JoinTicket | undefined): void {
    const before = this.participantId;
    if (ticket !== undefined) this.renew(ticket, answer.participantId);
    const everybody = answer.existingParticipants.map(participantFromWire);
    const own = everybody.find(({ participantId }) => participantId === this.participantId);
    this.announcements.apply(this.roster.replace(everybody.filter((it) => it !== own && !this.formerIds.includes(it.participantId))));
    const mine = answer.chat.filter(({ senderId }) => senderId === before);
    const chat = new Map(mine.map((value): [string, ServerBody] => [value.clientMessageId, { case: "chat", value }]));
    for (const message of answer.chat) this.chatHeard(message);
    const published = new Set(own?.streams.map((stream) => stream.streamId));
    this.pending.stands(session, { isSame: ticket === undefined, published, chat });
    session.start((body) => this.receive(body));
    this.publications.announceAgain(published);
    if (ticket !== undefined) this.wishes.again();
    if (own?.isMuted !== this.isMuted || own.isVideoOn !== this.isVideoOn) this.tellState();
    if (answer.mediaServer === undefined) return;
    // A session with a handler is one participant's.
    if (ticket === undefined) this.link?.confirm(answer.mediaServer);
    else this.link?.use(answer.mediaServer);
  }

  private renew(ticket: JoinTicket, participantId: string): void {
    const before = this.participantId;
    this.ticketInUse = ticket;
    this.formerIds = [...this.formerIds, before].slice(-FORMER_IDS_MAX);
    this.participantId = participantId;
    this.joinedAt = Date.now();
    this.publications.renew();
    this.tellMe();
    this.events.emit({ type: "rejoined", detail: { participantId, before } });
  }

  /** What is passed over is told by a resume, if it is still in the history then. */
  private chatHeard(message: WireChatMessage): void {
    this.chatLog.heard(message).catch(() => undefined);
  }

  private receive(body: ServerBody): void {
    if (!this.over) this.announcements.hear(body, this.participantId);
  }

  /** A record of this frame id could not be opened, and was dropped. */
  private undecryptable(frameId: string): void {
    this.subscriptions.undecryptable(frameId);
    const failed = this.encryption?.opener(frameId).failed(performance.now());
    const stream = this.roster.streams.find((it) => it.frameIds.includes(frameId));
    if (failed === undefined || stream === undefined) return;
    const { streamId } = stream;
    if (failed.wantsKeyFrame && stream.type !== "audio") this.link?.session?.requestKeyFrame(streamId);
    if (failed.tell) this.events.emit({ type: "undecryptable", detail: { streamId, senderId: undefined } });
  }

  private useServer(info: MediaServerInfo): void {
    this.addresses?.learnHashes(info.certificateHashes);
    this.link?.use(info);
  }

  /** The controller asks to go elsewhere; the session here stands until the new one does. */
  private reconnect(message: Reconnect): void {
    if (message.mediaServer !== undefined) this.useServer(message.mediaServer);
    const { addresses } = this;
    if (message.meetingControllerUrl === "" || addresses === undefined) return;
    addresses.controllerUrl = message.meetingControllerUrl;
    addresses.learnHashes(message.certificateHashes);
    this.standing?.ordered();
  }

  private end(reason: EndReason, error: DarkTowerError | undefined): void {
    if (this.over) return;
    this.shut();
    this.events.emit({ type: "ended", detail: { reason, error: error?.toData() } });
  }

  /** Lets go of everything, at once and without a word to the page. */
  close(): void {
    if (!this.over) this.shut();
  }

  private shut(): void {
    this.over = true;
    this.monitor.stop();
    this.publications.close();
    this.subscriptions.close();
    this.link?.close();
    this.pending.close();
    this.standing?.close("left");
  }
}
