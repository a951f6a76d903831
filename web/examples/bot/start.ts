// The page of the bot: it starts the Worker in which everything else happens, and shows what the bot says about itself.

import { DarkTowerError, type ErrorData } from "@dark-tower/client";
import { ask } from "../form.ts";

/** What the bot tells its page. */
export type FromBot = { said: string } | { joined: true } | { failed: ErrorData };

ask("Bot", (answers) => {
  const bot = new Worker("bot.js", { type: "module" });
  const log = document.body.appendChild(document.createElement("pre"));
  return new Promise((resolve, reject) => {
    bot.onerror = ({ message }) => reject(new DarkTowerError("INTERNAL_ERROR", message));
    bot.onmessage = ({ data }: MessageEvent<FromBot>) => {
      if ("said" in data) log.textContent += `${data.said}\n`;
      else if ("joined" in data) resolve();
      else reject(DarkTowerError.fromData(data.failed));
    };
    bot.postMessage(answers);
  });
});
