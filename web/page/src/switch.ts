// A switch with its words: on or off at once, without a button to confirm.

import { element } from "./dom.ts";

export interface SwitchRow {
  label: string;
  about: string;
  testid: string;
  isOn: boolean;
  change: (isOn: boolean) => void;
}

let rows = 0;

export function switchRow({ label, about, testid, isOn, change }: SwitchRow): HTMLElement {
  rows += 1;
  const id = `switch-${rows}`;
  const input = element("input", {
    class: "switch",
    testid,
    attributes: { type: "checkbox", role: "switch", id, "aria-describedby": `${id}-about` },
    on: { change: () => change(input.checked) },
  });
  input.checked = isOn;
  return element(
    "div",
    { class: "switch-row" },
    element(
      "div",
      { class: "switch-words" },
      element("label", { attributes: { for: id } }, label),
      element("p", { class: "about", attributes: { id: `${id}-about` } }, about),
    ),
    input,
  );
}
