// Markdown and code as elements: what the document says is text, never markup of its own.

import { Marked } from "marked";
import { element } from "../../page/src/dom.ts";

/** How long "Copied" is shown. */
const COPIED_MS = 1500;

const marked = new Marked({
  renderer: {
    html: ({ text }) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"),
  },
});

/** For an address within the page. */
export function slug(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
}

/** Markdown as elements; headings can be linked to, code can be copied, wide tables scroll by themselves. */
export function markdown(text: string): DocumentFragment {
  const template = document.createElement("template");
  template.innerHTML = marked.parse(text, { async: false });
  const { content } = template;
  for (const heading of content.querySelectorAll("h2, h3")) heading.id = slug(heading.textContent ?? "");
  for (const table of content.querySelectorAll("table")) {
    const frame = element("div", { class: "scroll" });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of content.querySelectorAll("pre")) {
    const language = /language-(\w+)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "";
    pre.replaceWith(codeBlock((pre.textContent ?? "").trimEnd(), language));
  }
  return content;
}

/** Text in columns with its words coloured and a button that copies it. */
export function codeBlock(text: string, language: string): HTMLElement {
  const copy = element("button", { class: "copy", attributes: { type: "button" } }, "Copy");
  copy.addEventListener("click", () => {
    void navigator.clipboard.writeText(text).then(() => {
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), COPIED_MS);
    });
  });
  const pre = element("pre", { attributes: { tabindex: "0" } }, element("code", {}, ...coloured(text, language)));
  return element("div", { class: "code" }, pre, copy);
}

/** By the first group that matched: what a piece of code is. */
const KINDS = ["comment", "key", "string", "number", "word"] as const;
const COMMENT: Record<string, string> = {
  sh: "(?<=^|\\s)#.*",
  curl: "(?<=^|\\s)#.*",
  python: "#.*",
  js: "(?<!:)//.*",
  javascript: "(?<!:)//.*",
};
/** Not after a colon without a space: that is a port. */
const NUMBER = "(?<!:)\\b\\d+(?:\\.\\d+)?\\b";
const NEVER = "(?!)";
const STRING = "\"(?:[^\"\\\\\\n]|\\\\.)*\"|`[^`]*`|'[^']*'";
const WORDS = "\\b(?:curl|const|await|function|return|import|from|if|throw|new|true|false|null|True|False|None)\\b";

function coloured(text: string, language: string): (Node | string)[] {
  if (language === "" || language === "text") return [text];
  const key = language === "json" ? '"(?:[^"\\\\\\n]|\\\\.)*"(?=\\s*:)' : NEVER;
  const comment = COMMENT[language.toLowerCase()] ?? NEVER;
  const pattern = new RegExp(`(${comment})|(${key})|(${STRING})|(${NUMBER})|(${WORDS})`, "gm");
  const pieces: (Node | string)[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    const kind = KINDS[match.slice(1).findIndex((group) => group !== undefined)];
    pieces.push(text.slice(end, match.index), element("span", { class: `code-${kind}` }, match[0]));
    end = match.index + match[0].length;
  }
  pieces.push(text.slice(end));
  return pieces;
}
