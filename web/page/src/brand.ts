// The name of the house, which leads to the first page.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";

export function brand(): HTMLElement {
  return element("a", { class: "brand", attributes: { href: "/" } }, icon("tower"), "Dark Tower");
}
