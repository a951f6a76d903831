// That a meeting is end-to-end encrypted, and how people make sure of it: a lock, and behind it a code that is the same for everybody who holds
// the same key.

import type { EncryptionInfo } from "@dark-tower/client";
import { openDialog } from "./dialog.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";

export function encryptionMark(encryption: EncryptionInfo): HTMLElement {
  return element(
    "button",
    {
      class: "pill lock",
      testid: "encryption",
      attributes: { type: "button", title: "End-to-end encrypted. Press to compare the code" },
      on: { click: () => showComparison(encryption) },
    },
    icon("lock"),
    element("span", {}, "Encrypted"),
  );
}

function showComparison({ comparisonCode }: EncryptionInfo): void {
  const groups = comparisonCode.split(" ").map((group) => element("span", {}, group));
  openDialog(
    "End-to-end encrypted",
    "encryption-dialog",
    element(
      "p",
      { class: "dialog-text" },
      "What is said, shown and written here is encrypted in this browser and decrypted in the others'. The servers pass it on and cannot read it.",
    ),
    // Digit by digit, not as a number of billions.
    element(
      "p",
      {
        class: "comparison-code",
        testid: "comparison-code",
        attributes: { role: "img", "aria-label": Array.from(comparisonCode).join(" ") },
      },
      ...groups,
    ),
    element(
      "p",
      { class: "dialog-text" },
      "To be sure that nobody has changed the link on its way, read these numbers to each other. If yours are the same, you hold the same key.",
    ),
  );
}
