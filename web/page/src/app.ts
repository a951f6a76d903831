// The meeting page: `/` creates a meeting, `/m/{code}` is its lobby, then the room, then the end.

import { DarkTowerError, join, type Meeting, requestJoin, support } from "@dark-tower/client";
import { Capture } from "./capture.ts";
import { element, show } from "./dom.ts";
import { brand, home } from "./home.ts";
import { Lobby, type LobbyChoice } from "./lobby.ts";
import { Room } from "./room.ts";
import { takeHostTicket } from "./storage.ts";
import { endWords, errorWords, type Words } from "./words.ts";

/** About a minute, as a network that comes back does within. */
const COME_BACK_ATTEMPTS = 20;
const COME_BACK_INTERVAL_MS = 3000;

function route(): void {
  const [, code] = /^\/m\/([^/]+)/u.exec(location.pathname) ?? [];
  if (code === undefined) {
    document.title = "Dark Tower";
    show(home(go));
  } else {
    openLobby(decodeURIComponent(code));
  }
}

function go(code: string): void {
  history.pushState({}, "", `/m/${encodeURIComponent(code)}`);
  route();
}

function openLobby(code: string): void {
  document.title = `${code} · Dark Tower`;
  const capture = new Capture();
  const lobby = new Lobby(code, capture, async (choice) => {
    try {
      await enter(code, capture, choice);
      return undefined;
    } catch (thrown) {
      return errorWords(DarkTowerError.from(thrown));
    }
  });
  show(lobby.view);
  if (!support().receive) lobby.fail(errorWords(new DarkTowerError("UNSUPPORTED_BROWSER", "")));
}

/** Joins and shows the room. Throws what `join` throws. */
async function enter(code: string, capture: Capture, choice: LobbyChoice): Promise<void> {
  // Made inside the click, which is what allows sound.
  const audioContext = new AudioContext({ sampleRate: 48_000, latencyHint: "interactive" });
  void audioContext.resume();
  const common = { displayName: choice.name, audioContext, isMuted: choice.isMuted, isVideoOn: choice.isVideoOn };
  try {
    const { meeting, isHost } = await joinAsHostOrGuest(code, common);
    const room = new Room(meeting, capture, {
      code,
      isHost,
      ...choice,
      ended: (reason, error, state) => {
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

type JoinCommon = { displayName: string; audioContext: AudioContext; isMuted: boolean; isVideoOn: boolean };

/** Whoever created the meeting in this tab enters as its host, as long as the host's ticket is good. */
async function joinAsHostOrGuest(code: string, common: JoinCommon): Promise<{ meeting: Meeting; isHost: boolean }> {
  const hostTicket = takeHostTicket(code);
  if (hostTicket !== undefined) {
    try {
      return { meeting: await join({ ...common, ticket: hostTicket }), isHost: true };
    } catch (thrown) {
      if (DarkTowerError.from(thrown).code !== "UNAUTHORIZED") throw thrown;
    }
  }
  const ticket = await requestJoin(code, common.displayName);
  return { meeting: await join({ ...common, ticket }), isHost: false };
}

function showEnd(code: string, words: Words, isError: boolean): HTMLElement {
  const again = element(
    "button",
    { class: "primary", testid: "rejoin", attributes: { type: "button" }, on: { click: () => openLobby(code) } },
    "Join again",
  );
  const advice = element("p", { class: "lead" }, words.advice);
  const text = element("div", { attributes: { role: "alert" } }, element("h1", {}, words.title), advice);
  if (isError) text.dataset.testid = "error";
  const home = element("a", { class: "quiet", attributes: { href: "/" } }, "Start another meeting");
  const view = element(
    "main",
    { class: "welcome" },
    brand(),
    element("section", { class: "card stack", testid: "ended" }, text, again, home),
  );
  show(view);
  return view;
}

addEventListener("popstate", () => location.reload());
route();
