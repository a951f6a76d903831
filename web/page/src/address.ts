// Where a meeting is. In: what people type or paste, and where this page stands. Out: the meeting's code and the link's fragment, which may
// hold the secret and is never sent anywhere. Pure.

/** A meeting's address on this server. */
export interface MeetingAddress {
  code: string;
  /** With its `#`; empty if the link had none. */
  fragment: string;
}

/** The address, or the host of a link that leads to another service; `undefined`: no address at all. */
export type ReadAddress = { address: MeetingAddress } | { elsewhere: string } | undefined;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/iu;
/** This machine by its names: one server answers to all of them. */
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

function isSameServer(one: URL, other: URL): boolean {
  return one.host === other.host || (LOOPBACK.has(one.hostname) && LOOPBACK.has(other.hostname));
}

/** A code as it is read aloud: in capitals, in groups. */
function normalCode(text: string): string {
  const code = text.trim();
  return UUID.test(code) ? code.toLowerCase() : code.replace(/[\s-]+/gu, "").toLowerCase();
}

/** `text`: a code, or a whole link. `here`: the page's own URL. */
export function readAddress(text: string, here: string): ReadAddress {
  const typed = text.trim();
  const hash = typed.indexOf("#");
  const [place, fragment] = hash < 0 ? [typed, ""] : [typed.slice(0, hash), typed.slice(hash)];
  if (!/[/.:]/u.test(place)) {
    const code = normalCode(place);
    return code === "" ? undefined : { address: { code, fragment } };
  }
  // A link that was copied without its scheme is one all the same.
  const whole = /^[a-z][a-z0-9+.-]*:\/\//iu.test(place) ? place : place.startsWith("/") ? new URL(place, here).href : `https://${place}`;
  if (!URL.canParse(whole)) return undefined;
  const url = new URL(whole);
  const [, part] = /\/m\/([^/]+)\/?$/u.exec(url.pathname) ?? [];
  if (part === undefined) return undefined;
  if (!isSameServer(url, new URL(here))) return { elsewhere: url.host };
  return { address: { code: normalCode(decodeURIComponent(part)), fragment } };
}

/** The path and fragment to go to. */
export function addressPath({ code, fragment }: MeetingAddress): string {
  return `/m/${encodeURIComponent(code)}${fragment}`;
}

/** The code in a page's path; `undefined`: not a meeting's page. */
export function codeOfPath(path: string): string | undefined {
  const [, part] = /^\/m\/([^/]+)\/?$/u.exec(path) ?? [];
  if (part === undefined) return undefined;
  try {
    return decodeURIComponent(part);
  } catch {
    // Not UTF-8: no code either, but the server's answer says so best.
    return part;
  }
}
