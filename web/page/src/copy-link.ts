// A button that puts the meeting's link into the clipboard: the whole of it, since the fragment may hold the key.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";

const SAID_FOR_MS = 2500;

export function copyLinkButton(): HTMLElement {
  const words = element("span", {}, "Copy link");
  const said = element("span", { class: "hidden", attributes: { role: "status" } });
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(location.href);
      words.textContent = said.textContent = "Link copied";
    } catch {
      words.textContent = said.textContent = "Copy it from the address bar";
    }
    setTimeout(() => {
      words.textContent = "Copy link";
      said.textContent = "";
    }, SAID_FOR_MS);
  };
  const button = element(
    "button",
    { class: "link-button", testid: "copy-link", attributes: { type: "button" }, on: { click: () => void copy() } },
    icon("copy"),
    words,
  );
  return element("span", { class: "copy-link" }, button, said);
}
