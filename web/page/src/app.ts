// The meeting page: `/` creates a meeting, `/m/{code}` is its lobby, then the room, then the end. What stands behind the `#` stays there: it is
// read here, handed to the client, and sent nowhere.

import {
  DarkTowerError,
  describeMeeting,
  type EndReason,
  type ErrorData,
  join,
  type Meeting,
  secretFromUrl,
  support,
} from "@dark-tower/client";
import { codeOfPath } from "./address.ts";
import { Capture } from "./capture.ts";
import { show } from "./dom.ts";
import { endPage } from "./end.ts";
import { home } from "./home.ts";
import { leaveWithWindow } from "./leave-with-window.ts";
import { Lobby, type LobbyChoice } from "./lobby.ts";
import { Room } from "./room.ts";
import { rememberedDevices } from "./storage.ts";
import { trustOwnScripts } from "./trusted-types.ts";
import { ticketTo } from "./way-in.ts";
import { endWords, errorWords } from "./words.ts";

function route(): void {
  const code = codeOfPath(location.pathname);
  if (code === undefined) {
    document.title = "Dark Tower";
    show(home(go));
  } else {
    openLobby(code);
  }
}

function go(path: string): void {
  history.pushState({}, "", path);
  route();
}

function openLobby(code: string): void {
  document.title = `${code} · Dark Tower`;
  const capture = new Capture();
  const lobby = new Lobby({
    code,
    capture,
    hasSecret: hasSecret(),
    describe: () => describeMeeting(code),
    enter: async (choice) => {
      try {
        await enter(code, capture, choice);
        return undefined;
      } catch (thrown) {
        return errorWords(DarkTowerError.from(thrown));
      }
    },
  });
  show(lobby.view);
  if (!support().receive) lobby.fail(errorWords(new DarkTowerError("UNSUPPORTED_BROWSER", "")));
}

/** Whether the link has a key, be it whole or not: what is wrong with it is said when one joins. */
function hasSecret(): boolean {
  try {
    return secretFromUrl(location.href) !== undefined;
  } catch {
    return true;
  }
}

/** Joins and shows the room. Throws what `join` throws. */
async function enter(code: string, capture: Capture, choice: LobbyChoice): Promise<void> {
  const { name, isMuted, isVideoOn } = choice;
  const secret = secretFromUrl(location.href);
  // Made inside the click, which is what allows sound.
  const audioContext = new AudioContext({ sampleRate: 48_000, latencyHint: "interactive" });
  void audioContext.resume();
  let meeting: Meeting;
  try {
    // A source of tickets: whoever was away for too long to resume comes back by a fresh one, as the host or guest that it was.
    const ticket = (): ReturnType<typeof ticketTo> => ticketTo(code, name);
    meeting = await join({
      ticket,
      displayName: name,
      audioContext,
      isMuted,
      isVideoOn,
      autoSubscribe: "visible",
      ...(secret !== undefined && { secret }),
    });
  } catch (thrown) {
    void audioContext.close();
    throw thrown;
  }
  const { speaker } = rememberedDevices();
  // A speaker that is not here today leaves the sound where the system sends it.
  if (speaker !== undefined) void meeting.setSpeaker(speaker).catch(() => undefined);
  const stay = leaveWithWindow(meeting);
  const room = new Room(meeting, capture, {
    code,
    isHost: meeting.me.value.role === "host",
    ...choice,
    ended: (reason, error) => {
      stay();
      void audioContext.close();
      showEnd(code, reason, error);
    },
  });
  document.title = `${meeting.info.displayName || code} · Dark Tower`;
  show(room.view);
}

function showEnd(code: string, reason: EndReason, error: ErrorData | undefined): void {
  document.title = "Dark Tower";
  const mayComeBack = reason !== "kicked" && reason !== "meeting-ended";
  show(endPage(endWords(reason, error), reason !== "left", mayComeBack ? () => openLobby(code) : undefined));
}

trustOwnScripts();
addEventListener("popstate", () => location.reload());
route();
