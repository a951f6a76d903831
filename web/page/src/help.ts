// The keys, in a dialog.

import { openDialog } from "./dialog.ts";
import { element } from "./dom.ts";
import { SHORTCUTS } from "./shortcuts.ts";

export function showHelp(): void {
  const list = element("dl", { class: "keys" });
  for (const { shown, words } of SHORTCUTS) list.append(element("dt", {}, element("kbd", {}, shown)), element("dd", {}, words));
  openDialog("Keyboard shortcuts", "help-dialog", list, element("p", { class: "dialog-text" }, "They rest while you are writing."));
}
