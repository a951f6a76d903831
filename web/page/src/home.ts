// The first page: start a meeting, or go to one by its code.

import { createMeeting, DarkTowerError, NAME_CHARACTERS_MAX } from "@dark-tower/client";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { Notice } from "./notice.ts";
import { keepHostTicket, rememberedName, rememberName } from "./storage.ts";
import { errorWords } from "./words.ts";

/** The last part of a meeting's URL, or what was typed. */
export function codeOf(text: string): string {
  return (
    text
      .trim()
      .replace(/[?#].*$/u, "")
      .replace(/\/+$/u, "")
      .split("/")
      .pop() ?? ""
  );
}

export function brand(): HTMLElement {
  return element("a", { class: "brand", attributes: { href: "/" } }, icon("tower"), "Dark Tower");
}

export function home(go: (code: string) => void): HTMLElement {
  const notice = new Notice();
  const name = element("input", {
    testid: "name",
    attributes: {
      id: "name",
      type: "text",
      placeholder: "How others see you",
      maxlength: String(NAME_CHARACTERS_MAX),
      autocomplete: "name",
      "data-autofocus": "",
    },
  });
  name.value = rememberedName();
  const create = element("button", { class: "primary", testid: "create", attributes: { type: "submit" } }, "Start a meeting");
  const start = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    notice.clear();
    create.disabled = true;
    const person = name.value.trim();
    if (person !== "") rememberName(person);
    try {
      const meeting = await createMeeting(person === "" ? "Meeting" : `${person}'s meeting`.slice(0, NAME_CHARACTERS_MAX));
      const code = codeOf(meeting.meeting_url);
      keepHostTicket(code, meeting);
      go(code);
    } catch (thrown) {
      notice.show(errorWords(DarkTowerError.from(thrown)));
      create.disabled = false;
    }
  };
  const code = element("input", {
    attributes: { id: "code", type: "text", placeholder: "Code or link", autocomplete: "off", spellcheck: "false" },
  });
  const enter = (event: SubmitEvent): void => {
    event.preventDefault();
    const wanted = codeOf(code.value);
    if (wanted === "") code.focus();
    else go(wanted);
  };
  return element(
    "main",
    { class: "welcome" },
    brand(),
    element(
      "section",
      { class: "card" },
      element("h1", {}, "Meet face to face, wherever you are"),
      element("p", { class: "lead" }, "No account, nothing to install. Start a meeting and share its link."),
      notice.view,
      element(
        "form",
        { class: "stack", on: { submit: (event) => void start(event) } },
        element("label", { attributes: { for: "name" } }, "Your name"),
        name,
        create,
      ),
      element("div", { class: "divider" }, element("span", {}, "or join one")),
      element(
        "form",
        { class: "row", on: { submit: enter } },
        element("label", { class: "hidden", attributes: { for: "code" } }, "Meeting code or link"),
        code,
        element("button", { attributes: { type: "submit" } }, "Continue"),
      ),
    ),
  );
}
