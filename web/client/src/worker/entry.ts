// The worker's door: requests of the page to the engine, answers and events back. One worker, one meeting.

import { DarkTowerError } from "../error.ts";
import type { ToPage, ToWorker } from "../messages.ts";
import { Engine } from "./engine.ts";

declare const self: DedicatedWorkerGlobalScope;

/** Codecs work in threads of their own: those that were closed just now give their frames back first. */
const LINGER_MS = 100;

function post(message: ToPage): void {
  self.postMessage(message);
}

const engine = new Engine({
  emit: (event) => post({ kind: "event", event }),
  me: (me) => post({ kind: "me", me }),
  wantTicket: (wish) => post({ kind: "ticket-wanted", wish }),
  framesMissing: (publicationId) => post({ kind: "frames-missing", publicationId }),
});

function handle(message: ToWorker): unknown {
  switch (message.name) {
    case "join":
      return engine.join(message.value);
    case "publish":
      return engine.publications.publish(message.value);
    case "unpublish":
      return engine.publications.unpublish(message.value);
    case "replaceSource":
      engine.publications.replaceSource(message.value);
      return undefined;
    case "relieve":
      engine.publications.relieve(message.value);
      return undefined;
    case "subscribe":
      return engine.wishes.subscribe(message.value);
    case "unsubscribe":
      return engine.wishes.unsubscribe(message.value);
    case "attach":
      engine.subscriptions.attach(message.value);
      return undefined;
    case "detach":
      engine.subscriptions.detach(message.value);
      return undefined;
    case "forget":
      engine.subscriptions.forget(message.value);
      return undefined;
    case "show":
      engine.subscriptions.show(message.value);
      return undefined;
    case "frames":
      engine.subscriptions.frames(message.value);
      return undefined;
    case "soundTo":
      engine.subscriptions.soundTo(message.value);
      return undefined;
    case "audioClock":
      engine.subscriptions.setAudioClock(message.value);
      return undefined;
    case "holdPictures":
      engine.subscriptions.holdPictures(message.value);
      return undefined;
    case "chat":
      return engine.chat(message.value);
    case "state":
      return engine.state(message.value);
    case "kick":
      return engine.kick(message.value);
    case "relay":
      return engine.relay(message.value);
    case "ticket":
      engine.ticket(message.value);
      return undefined;
    case "leave":
      return engine.leave();
    case "close":
      engine.close();
      setTimeout(() => self.close(), LINGER_MS);
      return undefined;
  }
}

self.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  const { id } = data;
  try {
    post({ kind: "answer", id, value: await handle(data) });
  } catch (thrown) {
    post({ kind: "refusal", id, error: DarkTowerError.from(thrown).toData() });
  }
};
