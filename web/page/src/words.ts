// What people read when something goes wrong: what happened, and what they can do. Pure.

import type { DarkTowerError, EndReason, Quality } from "@dark-tower/client";

export { captureWords } from "./capture-words.ts";

export interface Words {
  title: string;
  advice: string;
}

const say = (title: string, advice: string): Words => ({ title, advice });

/** For a refusal or failure while creating or joining. */
export function errorWords(error: Pick<DarkTowerError, "code" | "message" | "details">): Words {
  switch (error.code) {
    case "MEETING_NOT_FOUND":
    case "NOT_FOUND":
      return say("This meeting does not exist.", "Check the link, or ask whoever invited you to send it again.");
    case "MEETING_ENDED":
    case "ENDED":
      return say("This meeting has ended.", "Ask for a new link, or start a meeting of your own.");
    case "CAPACITY_EXCEEDED":
      return say("This meeting is full.", "Try again when somebody has left, or ask the host to make room.");
    case "UNAUTHORIZED":
      return say(
        "You could not be let in.",
        "This meeting asks for an account, or your invitation is too old. Reload the page and try again.",
      );
    case "FORBIDDEN":
      return say("You are not allowed into this meeting.", "You may have been removed from it. Ask the host of the meeting.");
    case "CONFLICT":
      return say("You are in this meeting already.", "Close the other window, or reload this page.");
    case "RATE_LIMITED": {
      const seconds = error.details.retry_after;
      return say("That was too often in a short time.", seconds ? `Try again in ${seconds} seconds.` : "Wait a minute, then try again.");
    }
    case "INVALID_REQUEST":
      return say("That did not work.", `Please check what you typed: ${error.message}`);
    case "UNAVAILABLE":
      return say("The meeting service is busy or restarting.", "Wait a few seconds, then try again.");
    case "UNSUPPORTED_BROWSER":
      return say("This browser cannot take part.", "Update it, or open this link in a current Chrome, Edge or another Chromium browser.");
    case "SECRET_MISSING":
      return say(
        "This link lacks the key to the meeting.",
        "The meeting is end-to-end encrypted. Ask for the whole link, which goes on after the # sign, and open that one.",
      );
    case "WRONG_SECRET":
      return say(
        "This link has the wrong key to the meeting.",
        "The meeting is end-to-end encrypted, and the link was cut off or changed on its way. Ask for it again, and open the whole of it.",
      );
    case "NOT_ENCRYPTED":
      return say(
        "This meeting is not encrypted as your link promises.",
        "Nothing of you was sent. Ask whoever invited you, and do not join by another link that you did not get from them.",
      );
    case "CONNECTION_FAILED":
    case "TIMED_OUT":
      return say(
        "The meeting could not be reached.",
        "Check your internet connection. Some company networks block UDP; if yours does, try another one.",
      );
    case "CONNECTION_LOST":
      return say("The connection was lost.", "Check your internet connection, then join again.");
    default:
      return say("Something went wrong on our side.", "Try again. If it stays like this, tell whoever runs this service.");
  }
}

/** For the end of a stay. */
export function endWords(reason: EndReason, error?: { code: string }): Words {
  switch (reason) {
    case "left":
      return say("You left the meeting.", "You can come back at any time with the same link.");
    case "kicked":
      return say("You were removed from the meeting.", "If that was a mistake, ask the host of the meeting.");
    case "meeting-ended":
      return say("The meeting has ended.", "Thank you for being here.");
    case "moved":
      return say("You joined from another window.", "This one is no longer connected. Go on there, or join again here.");
    default:
      if (error?.code === "MEETING_ENDED" || error?.code === "NOT_FOUND") return endWords("meeting-ended");
      return say("The connection was lost.", "We tried to bring it back and could not. Check your internet connection, then join again.");
  }
}

/** For what was turned off because somebody who may asked for it. */
export function muteWords(off: { microphone: boolean; camera: boolean }, reason: string): Words {
  const what =
    off.microphone && off.camera ? "Your microphone and camera were" : off.microphone ? "Your microphone was" : "Your camera was";
  const why = reason.trim() === "" ? "" : `They said: “${reason.trim()}”. `;
  const again = off.microphone && off.camera ? "them" : "it";
  return say(`${what} turned off at the request of whoever runs this meeting.`, `${why}You can turn ${again} on again.`);
}

/** Who is in a meeting that one has not joined yet. */
export function presenceWords(count: number): string {
  if (count === 0) return "Nobody else is here yet.";
  return count === 1 ? "One person is here." : `${count} people are here.`;
}

const REASONS: Record<Quality["reason"], string> = {
  "": "",
  signaling: "reconnecting",
  media: "no sound and pictures at the moment",
  latency: "long delay",
  loss: "data gets lost on the way",
  uplink: "your upload is slow",
  freezes: "pictures stand still at times",
};

const LEVELS: Record<Quality["level"], string> = {
  good: "Good connection",
  fair: "Fair connection",
  poor: "Poor connection",
  lost: "Connection lost",
};

export function qualityWords(quality: Quality): string {
  const reason = REASONS[quality.reason];
  return reason === "" ? LEVELS[quality.level] : `${LEVELS[quality.level]}: ${reason}`;
}

/** As a reader sees it: an emoji of several code points is one. */
function firstLetter(text: string): string {
  const [first] = new Intl.Segmenter().segment(text);
  return first?.segment ?? "";
}

/** Two letters for a person without a picture. */
export function initials(name: string): string {
  const parts = name.trim().split(/\s+/u);
  const letters = parts.length > 1 ? [parts[0], parts[parts.length - 1]] : [parts[0]];
  const text = letters.map((part) => firstLetter(part ?? "")).join("");
  return text === "" ? "?" : text.toUpperCase();
}

/** A hue of one's own, the same on every screen. */
export function hue(id: string): number {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 360;
  return sum;
}
