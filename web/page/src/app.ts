// The meeting page: `/` creates a meeting, `/m/{code}` is its lobby, then the room, then the end.

import { DarkTowerError, type EndReason, type ErrorData, join, type Meeting, requestJoin, support } from "@dark-tower/client";
import { Capture } from "./capture.ts";
import { element, show } from "./dom.ts";
import { brand, home } from "./home.ts";
import { Lobby, type LobbyChoice } from "./lobby.ts";
import { Room } from "./room.ts";
import { takeHostTicket } from "./storage.ts";
import { endWords, errorWords, type Words } from "./words.ts";

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
  const lobby = new Lobby(code, capture, (choice) => enter(code, capture, choice));
  show(lobby.view);
  if (!support().receive) lobby.fail(errorWords(new DarkTowerError("UNSUPPORTED_BROWSER", "")));
}

/** Joins and shows the room; or returns what to tell. */
async function enter(code: string, capture: Capture, choice: LobbyChoice): Promise<Words | undefined> {
  // Made inside the click, which is what allows sound.
  const audioContext = new AudioContext({ sampleRate: 48_000, latencyHint: "interactive" });
  void audioContext.resume();
  const common = { displayName: choice.name, audioContext, isMuted: choice.isMuted, isVideoOn: choice.isVideoOn };
  try {
    const { meeting, isHost } = await joinAsHostOrGuest(code, common);
    const room = new Room(meeting, capture, {
      code,
      name: choice.name,
      isHost,
      isMuted: choice.isMuted,
      isVideoOn: choice.isVideoOn,
      ended: (reason, error) => {
        void audioContext.close();
        showEnd(code, reason, error);
      },
    });
    show(room.view);
    return undefined;
  } catch (thrown) {
    void audioContext.close();
    return errorWords(DarkTowerError.from(thrown));
  }
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

function showEnd(code: string, reason: EndReason, error: ErrorData | undefined): void {
  const { title, advice } = endWords(reason, error);
  const again = element(
    "button",
    { class: "primary", testid: "rejoin", attributes: { type: "button" }, on: { click: () => openLobby(code) } },
    "Join again",
  );
  const words = element("p", { class: "lead" }, advice);
  const text = element("div", { attributes: { role: "alert" } }, element("h1", {}, title), words);
  if (reason !== "left") text.dataset.testid = "error";
  show(
    element(
      "main",
      { class: "welcome" },
      brand(),
      element(
        "section",
        { class: "card stack", testid: "ended" },
        text,
        again,
        element("a", { class: "quiet", attributes: { href: "/" } }, "Start another meeting"),
      ),
    ),
  );
}

addEventListener("popstate", () => location.reload());
route();
