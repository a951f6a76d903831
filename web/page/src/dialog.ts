// Dialogs: the browser's own element, which keeps the focus inside, closes by Escape and gives the focus back.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";

/** Shows `content` under a title until it is closed. */
export function openDialog(title: string, testid: string, ...content: Node[]): HTMLDialogElement {
  const id = `${testid}-title`;
  const dialog = element(
    "dialog",
    { class: "dialog", testid, attributes: { "aria-labelledby": id } },
    element(
      "header",
      { class: "panel-head" },
      element("h2", { attributes: { id } }, title),
      element(
        "button",
        { class: "plain", attributes: { type: "button", "aria-label": "Close" }, on: { click: () => dialog.close() } },
        icon("remove"),
      ),
    ),
    ...content,
  );
  // A press beside it closes it, as people expect.
  dialog.addEventListener("click", (event) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const isInside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (event.target === dialog && !isInside) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export interface Question {
  title: string;
  text: string;
  /** What the button does, in a word or two. */
  yes: string;
}

/** Asks before what cannot be undone. Resolves false when it is put away. */
export function confirm({ title, text, yes }: Question): Promise<boolean> {
  return new Promise((resolve) => {
    let isSure = false;
    const dialog = openDialog(
      title,
      "confirm-dialog",
      element("p", { class: "dialog-text" }, text),
      element(
        "div",
        { class: "dialog-actions" },
        element("button", { attributes: { type: "button", autofocus: "" }, on: { click: () => dialog.close() } }, "Cancel"),
        element(
          "button",
          {
            class: "primary risky",
            testid: "confirm",
            attributes: { type: "button" },
            on: {
              click: () => {
                isSure = true;
                dialog.close();
              },
            },
          },
          yes,
        ),
      ),
    );
    dialog.addEventListener("close", () => resolve(isSure));
  });
}
