// Asks the page for tickets to come back with. In: wishes of the stay, answers of the page. Out: a ticket, or the reason why there is none.

import { DarkTowerError } from "../error.ts";
import type { Requests } from "../messages.ts";
import type { JoinTicket } from "../types.ts";
import { within } from "./deadline.ts";

/** An application's server that has not answered by then is asked anew. */
const TICKET_TIMEOUT_MS = 15_000;

type Outcome = Requests["ticket"]["takes"]["outcome"];

/** Wishes for tickets, one at a time. */
export class TicketWishes {
  private readonly ask: (wish: number) => void;
  private wish = 0;
  private answered: ((outcome: Outcome) => void) | undefined;

  /** `ask` tells the page; it answers with the same number. */
  constructor(ask: (wish: number) => void) {
    this.ask = ask;
  }

  /** A fresh ticket. Rejects with what the application's source threw, or `TIMED_OUT`. */
  async want(): Promise<JoinTicket> {
    this.wish += 1;
    const answer = new Promise<Outcome>((resolve) => (this.answered = resolve));
    this.ask(this.wish);
    const outcome = await within(TICKET_TIMEOUT_MS, "getting a ticket", answer);
    if ("error" in outcome) throw DarkTowerError.fromData(outcome.error);
    return outcome.ticket;
  }

  /** The page's answer; one that comes too late is for nobody. */
  answer(wish: number, outcome: Outcome): void {
    if (wish === this.wish) this.answered?.(outcome);
  }
}
