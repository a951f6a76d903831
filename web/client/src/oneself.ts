// What a participant knows of itself before and beside what the controller tells: name and role from its join token, what it has turned on.
// In: a token, as text. Never judges a token; that is the controller's.

import type { MediaStreamInfo, Participant } from "./types.ts";

interface Claims {
  name?: unknown;
  role?: unknown;
}

/** The claims of a JWT (RFC 7519, section 3), unchecked; none of what cannot be read. */
function claimsOf(token: string): Claims {
  const [, payload = ""] = token.split(".");
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? claims : {};
  } catch {
    return {};
  }
}

export interface OwnState {
  participantId: string;
  joinToken: string;
  /** As it was asked for; the token's name goes before it, and who has neither is called by the role, as at the controller. */
  displayName: string;
  /** Milliseconds since the epoch. */
  joinedAt: number;
  isMuted: boolean;
  isVideoOn: boolean;
  streams: MediaStreamInfo[];
}

/** Oneself, as the others see one. */
export function describeOneself({ joinToken, displayName, ...rest }: OwnState): Participant {
  const claims = claimsOf(joinToken);
  const role = claims.role === "host" ? "host" : "attendee";
  const granted = typeof claims.name === "string" ? claims.name.trim() : "";
  const name = granted || displayName.trim() || (role === "host" ? "Host" : "Guest");
  return { ...rest, name, role };
}
