// The first page: start a meeting, or go to one by its code or link.

import { createSecret, DarkTowerError, NAME_CHARACTERS_MAX, urlWithSecret } from "@dark-tower/client";
import { addressPath, readAddress } from "./address.ts";
import { brand } from "./brand.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { checkName, meetingNameOf, nameWords } from "./name.ts";
import { NameField } from "./name-field.ts";
import { Notice } from "./notice.ts";
import { switchRow } from "./switch.ts";
import { makeMeeting } from "./way-in.ts";
import { errorWords } from "./words.ts";

/** `go` takes a path on this server, with its fragment. */
export function home(go: (path: string) => void): HTMLElement {
  return element(
    "div",
    { class: "page" },
    element("header", { class: "page-head" }, brand()),
    element(
      "main",
      { class: "home" },
      element(
        "section",
        { class: "home-words" },
        element("h1", {}, "Meet face to face, wherever you are"),
        element("p", { class: "lead" }, "No account, nothing to install. Start a meeting and share its link."),
        startForm(go),
        element("div", { class: "divider" }, element("span", {}, "or join one")),
        enterForm(go),
      ),
      element("img", { class: "home-picture", attributes: { src: "/meeting.svg", alt: "", width: "560", height: "440" } }),
    ),
    element("footer", { class: "page-foot" }, element("a", { attributes: { href: "/docs" } }, "For developers")),
  );
}

function startForm(go: (path: string) => void): HTMLElement {
  const notice = new Notice();
  const name = new NameField({ isNeeded: false });
  const title = element("input", {
    testid: "meeting-name",
    attributes: {
      id: "meeting-name",
      type: "text",
      placeholder: "Optional",
      autocomplete: "off",
      maxlength: String(2 * NAME_CHARACTERS_MAX),
      "aria-describedby": "meeting-name-refusal",
    },
  });
  const titleRefusal = element("p", { class: "field-refusal", attributes: { id: "meeting-name-refusal", "aria-live": "polite" } });
  let isEncrypted = false;
  const encryption = switchRow({
    label: "End-to-end encryption",
    about: "Only people with the whole link can see, hear and read this meeting. The servers cannot.",
    testid: "encrypt",
    isOn: false,
    change: (isOn) => (isEncrypted = isOn),
  });
  const create = element("button", { class: "primary", testid: "create", attributes: { type: "submit" } }, icon("add"), "Start a meeting");
  const start = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (create.disabled) return;
    notice.clear();
    const person = name.take();
    if (person === undefined) return;
    const wanted = title.value.trim() === "" ? { name: meetingNameOf(person) } : checkName(title.value);
    titleRefusal.textContent = wanted.name === undefined ? nameWords(wanted.fault) : "";
    if (wanted.name === undefined) {
      title.focus();
      return;
    }
    create.disabled = true;
    try {
      const path = addressPath({ code: await makeMeeting(wanted.name, isEncrypted), fragment: "" });
      // The secret is made here and goes into the fragment, which no browser sends anywhere.
      const url = new URL(path, location.href).href;
      const whole = new URL(isEncrypted ? urlWithSecret(url, createSecret()) : url);
      go(whole.pathname + whole.hash);
    } catch (thrown) {
      notice.show(errorWords(DarkTowerError.from(thrown)));
      create.disabled = false;
    }
  };
  return element(
    "form",
    { class: "stack", attributes: { novalidate: "" }, on: { submit: (event) => void start(event) } },
    notice.view,
    name.view,
    element("div", { class: "field" }, element("label", { attributes: { for: "meeting-name" } }, "Meeting name"), title, titleRefusal),
    encryption,
    create,
  );
}

function enterForm(go: (path: string) => void): HTMLElement {
  const refusal = element("p", { class: "field-refusal", attributes: { id: "code-refusal", "aria-live": "polite" } });
  const code = element("input", {
    testid: "code",
    attributes: {
      id: "code",
      type: "text",
      placeholder: "Code or link",
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: "false",
      "aria-describedby": "code-refusal",
    },
    on: { input: () => (refusal.textContent = "") },
  });
  const enter = (event: SubmitEvent): void => {
    event.preventDefault();
    const read = readAddress(code.value, location.href);
    if (read !== undefined && "address" in read) {
      go(addressPath(read.address));
      return;
    }
    refusal.textContent =
      read === undefined
        ? "Type the code of a meeting, or paste its whole link."
        : `This link belongs to ${read.elsewhere}, another service. Paste it into the address bar of your browser.`;
    code.focus();
  };
  return element(
    "form",
    { attributes: { novalidate: "" }, on: { submit: enter } },
    element("label", { class: "hidden", attributes: { for: "code" } }, "Meeting code or link"),
    element("div", { class: "row" }, code, element("button", { testid: "continue", attributes: { type: "submit" } }, "Continue")),
    refusal,
  );
}
