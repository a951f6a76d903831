// Keys that do something in the room. In: a key. Out: what is meant by it. Pure, but for the question whether somebody is typing.

export type Action = "mute" | "camera" | "share" | "chat" | "people" | "layout" | "settings" | "connection" | "help" | "close";

/** Each with the words of the help. One key for one thing, none of them a browser's or a screen reader's own. */
export const SHORTCUTS: readonly { key: string; shown: string; action: Action; words: string }[] = [
  { key: "m", shown: "M", action: "mute", words: "Microphone on or off" },
  { key: "v", shown: "V", action: "camera", words: "Camera on or off" },
  { key: "s", shown: "S", action: "share", words: "Share your screen, or stop" },
  { key: "c", shown: "C", action: "chat", words: "Show or hide the chat" },
  { key: "p", shown: "P", action: "people", words: "Show or hide the list of people" },
  { key: "l", shown: "L", action: "layout", words: "Everybody alike, or the speaker large" },
  { key: "q", shown: "Q", action: "connection", words: "Show or hide connection details" },
  { key: "d", shown: "D", action: "settings", words: "Choose camera, microphone and speaker" },
  { key: "?", shown: "?", action: "help", words: "These keys" },
  { key: "escape", shown: "Esc", action: "close", words: "Close what is open at the side" },
];

export type Key = Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "repeat" | "defaultPrevented">;

/** What a key means; nothing with a modifier but Shift, which "?" needs on most keyboards, and nothing when held down. */
export function actionOf(event: Key): Action | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return undefined;
  const key = event.key.toLowerCase();
  return SHORTCUTS.find((shortcut) => shortcut.key === key)?.action;
}

/** Whether keys at `target` are text, or choose from a list. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches("input, textarea, select"));
}
