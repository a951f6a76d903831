// What this browser remembers: one's name, and for this tab the host's ticket to a meeting created here.

import type { JoinTicket } from "@dark-tower/client";

const NAME_KEY = "dark-tower.name";
const hostKey = (code: string): string => `dark-tower.host.${code}`;

/** A token about to expire would be refused on arrival. */
const TICKET_MARGIN_MS = 5000;

/** Storage may be forbidden; then nothing is remembered. */
function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

export function rememberedName(): string {
  return attempt(() => localStorage.getItem(NAME_KEY)) ?? "";
}

export function rememberName(name: string): void {
  attempt(() => localStorage.setItem(NAME_KEY, name));
}

/** The create answer's ticket is the host's. */
export function keepHostTicket(code: string, ticket: JoinTicket): void {
  attempt(() => sessionStorage.setItem(hostKey(code), JSON.stringify(ticket)));
}

/** The ticket while it is good; once, and so forgotten here. */
export function takeHostTicket(code: string): JoinTicket | undefined {
  return attempt(() => {
    const text = sessionStorage.getItem(hostKey(code));
    sessionStorage.removeItem(hostKey(code));
    if (text === null) return undefined;
    const ticket = JSON.parse(text) as JoinTicket;
    const leftMs = Date.parse(ticket.expires_at ?? "") - Date.now();
    return Number.isNaN(leftMs) || leftMs > TICKET_MARGIN_MS ? ticket : undefined;
  });
}
