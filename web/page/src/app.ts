// The meeting page: `/` creates a meeting, `/m/{code}` is its lobby, then the room, then the end. What stands behind the `#` stays there: it is
// read here, handed to the client, and sent nowhere.

import { DarkTowerError, describeMeeting, join, support } from "@dark-tower/client";
import { codeOfPath } from "./address.ts";
import { Capture } from "./capture.ts";
import { show } from "./dom.ts";
import { endPage } from "./end.ts";
import { home } from "./home.ts";
import { Lobby, type LobbyChoice } from "./lobby.ts";
import { Room } from "./room.ts";
import { routeTo } from "./speaker.ts";
import { rememberedDevices } from "./storage.ts";
import { ticketTo } from "./way-in.ts";
import { endWords, errorWords, type Words } from "./words.ts";

/** About a minute, as a network that comes back does within. */
const COME_BACK_ATTEMPTS = 20;
const COME_BACK_INTERVAL_MS = 3000;

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
    hasSecret: false,
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

/** Joins and shows the room. Throws what `join` throws. */
async function enter(code: string, capture: Capture, choice: LobbyChoice): Promise<void> {
  // Made inside the click, which is what allows sound.
  const audioContext = new AudioContext({ sampleRate: 48_000, latencyHint: "interactive" });
  void audioContext.resume();
  try {
    await routeTo(audioContext, rememberedDevices().speaker);
    const { name, isMuted, isVideoOn } = choice;
    const meeting = await join({
      ticket: await ticketTo(code, name),
      displayName: name,
      audioContext,
      autoSubscribe: "visible",
      isMuted,
      isVideoOn,
    });
    const leave = (): void => void meeting.leave();
    addEventListener("pagehide", leave);
    const room = new Room(meeting, capture, {
      code,
      isHost: meeting.me.value.role === "host",
      ...choice,
      ended: (reason, error, state) => {
        removeEventListener("pagehide", leave);
        void audioContext.close();
        if (reason === "connection-lost") void comeBack(code, state);
        else showEnd(code, endWords(reason, error), reason !== "left");
      },
    });
    show(room.view);
  } catch (thrown) {
    void audioContext.close();
    throw thrown;
  }
}

/** Tries to join anew after the time for resuming has passed, until it works, is refused, or the person decides. */
async function comeBack(code: string, choice: LobbyChoice): Promise<void> {
  const lost = endWords("connection-lost");
  const view = showEnd(code, { title: lost.title, advice: "Trying to bring you back…" }, true);
  for (let attempt = 1; attempt <= COME_BACK_ATTEMPTS; attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, COME_BACK_INTERVAL_MS));
    if (!view.isConnected) return;
    const capture = new Capture();
    if (!choice.isMuted) await capture.open("microphone");
    if (choice.isVideoOn) await capture.open("camera");
    try {
      await enter(code, capture, choice);
      return;
    } catch (thrown) {
      capture.closeAll();
      const error = DarkTowerError.from(thrown);
      if (!["CONNECTION_FAILED", "CONNECTION_LOST", "TIMED_OUT", "UNAVAILABLE", "RATE_LIMITED"].includes(error.code)) {
        showEnd(code, errorWords(error), true);
        return;
      }
    }
  }
  if (view.isConnected) showEnd(code, lost, true);
}

function showEnd(code: string, words: Words, isError: boolean): HTMLElement {
  const view = endPage(words, isError, () => openLobby(code));
  show(view);
  return view;
}

addEventListener("popstate", () => location.reload());
route();
