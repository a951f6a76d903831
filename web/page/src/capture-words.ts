// What people read about their camera, microphone and screen: what happened, and what they can do. Pure.

import type { Words } from "./words.ts";

/** Why a device does not come, or stays away. */
export type CaptureFault =
  | "denied" // by the person, for good
  | "dismissed" // asked, and not answered
  | "system" // the operating system keeps the browser out
  | "policy" // the page around this one, or whoever manages the browser
  | "insecure" // no https
  | "not-found"
  | "in-use"
  | "unplugged"
  | "silenced" // there, and gives nothing
  | "unknown";

/** What is known when a device was refused. */
export interface Refusal {
  /** Of the `DOMException`. */
  name: string;
  message: string;
  /** As the browser remembers it; absent where it does not say. */
  permission: PermissionState | undefined;
  isSecure: boolean;
  isAllowedByPolicy: boolean;
}

/** Makes one cause of it. */
export function faultOf({ name, message, permission, isSecure, isAllowedByPolicy }: Refusal): CaptureFault {
  if (!isSecure) return "insecure";
  if (!isAllowedByPolicy) return "policy";
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      // Chromium's words for a system that has not allowed it; there is no other sign.
      if (/system/iu.test(message)) return "system";
      return permission === "prompt" ? "dismissed" : "denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "not-found";
    case "NotReadableError":
    case "AbortError":
      return "in-use";
    default:
      return "unknown";
  }
}

const WITHOUT = "You can take part without it.";

/** `what` starts a sentence: "Camera", "Microphone", "Camera and microphone". */
export function faultWords(what: string, fault: CaptureFault): Words {
  const thing = what.toLowerCase();
  const say = (title: string, advice: string): Words => ({ title, advice });
  switch (fault) {
    case "denied":
      return say(`${what} access is blocked.`, `Allow it with the icon beside the address, then press the button again. ${WITHOUT}`);
    case "dismissed":
      return say(`${what} access is blocked until you allow it.`, `Press the button, and choose Allow when the browser asks. ${WITHOUT}`);
    case "system":
      return say(
        `${what} access is blocked by your system.`,
        `Let this browser use it in the system's privacy settings, then press the button again. ${WITHOUT}`,
      );
    case "policy":
      return say(
        `${what} access is blocked by a rule of this browser or of the page around this one.`,
        `Open the meeting's link in a window of its own, or ask whoever manages this computer. ${WITHOUT}`,
      );
    case "insecure":
      return say(`${what} access needs a secure connection.`, `Open the meeting by an address that starts with https. ${WITHOUT}`);
    case "not-found":
      return say(`No ${thing} was found.`, `Plug one in and press the button again. ${WITHOUT}`);
    case "in-use":
      return say(`${what} is in use.`, `Close other programs that use it, then press the button again. ${WITHOUT}`);
    case "unplugged":
      return say(`Your ${thing} was unplugged.`, `Plug it in again or choose another one, then press the button. ${WITHOUT}`);
    case "silenced":
      return say(
        `Your ${thing} gives nothing at the moment.`,
        "Look for a switch on the device or a lid over it; another program may have taken it, too.",
      );
    case "unknown":
      return say(`${what} could not be started.`, `Press the button to try again. ${WITHOUT}`);
  }
}

/** For a camera, microphone or screen that does not come, by the name of the `DOMException` alone. */
export function captureWords(what: string, errorName: string): Words {
  return faultWords(what, faultOf({ name: errorName, message: "", permission: undefined, isSecure: true, isAllowedByPolicy: true }));
}

/** One note for both devices where the cause is the same, else the camera's and the microphone's, each by itself. */
export function faultsWords(camera: CaptureFault | undefined, microphone: CaptureFault | undefined): Words[] {
  if (camera !== undefined && camera === microphone) {
    const both = faultWords("Camera and microphone", camera);
    const many = (text: string): string =>
      text
        .replace("without it", "without them")
        .replace("Allow it ", "Allow them ")
        .replace("use it ", "use them ")
        .replace("use it,", "use them,");
    if (camera === "not-found")
      return [{ title: "No camera and no microphone were found.", advice: "Plug them in; or join to watch and listen." }];
    return [
      { title: both.title.replace(" is in use", " are in use").replace("was unplugged", "were unplugged"), advice: many(both.advice) },
    ];
  }
  return [
    ...(camera === undefined ? [] : [faultWords("Camera", camera)]),
    ...(microphone === undefined ? [] : [faultWords("Microphone", microphone)]),
  ];
}

/** Another device took the place of one that went away. */
export function swappedWords(device: string, label: string): Words {
  return {
    title: `Your ${device} went away.`,
    advice: label === "" ? "Another one has taken its place." : `“${label}” has taken its place.`,
  };
}
