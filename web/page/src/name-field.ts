// The field for one's name: remembered, checked by the servers' rule as soon as one leaves it, refused in words beside it.

import { NAME_CHARACTERS_MAX } from "@dark-tower/client";
import { element } from "./dom.ts";
import { checkName, nameWords } from "./name.ts";
import { rememberedName, rememberName } from "./storage.ts";

let fields = 0;

export class NameField {
  readonly view: HTMLElement;
  private readonly input: HTMLInputElement;
  private readonly refusal: HTMLElement;
  private readonly isNeeded: boolean;

  /** `changed` is told what stands in the field while one types. */
  constructor({ isNeeded, changed }: { isNeeded: boolean; changed?: (text: string) => void }) {
    fields += 1;
    const id = `name-${fields}`;
    this.isNeeded = isNeeded;
    this.input = element("input", {
      testid: "name",
      attributes: {
        id,
        type: "text",
        name: "name",
        placeholder: "How others see you",
        // In UTF-16; an emoji takes two. The rule itself is checked below.
        maxlength: String(2 * NAME_CHARACTERS_MAX),
        autocomplete: "name",
        spellcheck: "false",
        enterkeyhint: "go",
        "aria-describedby": `${id}-refusal`,
        "data-autofocus": "",
        ...(isNeeded ? { "aria-required": "true" } : {}),
      },
      on: {
        input: () => {
          if (this.refusal.textContent !== "") this.check();
          changed?.(this.input.value.trim());
        },
        change: () => this.check(),
      },
    });
    this.input.value = rememberedName();
    this.refusal = element("p", { class: "field-refusal", attributes: { id: `${id}-refusal`, "aria-live": "polite" } });
    this.view = element("div", { class: "field" }, element("label", { attributes: { for: id } }, "Your name"), this.input, this.refusal);
  }

  /** What stands there now, checked or not. */
  get text(): string {
    return this.input.value.trim();
  }

  /** The name, which is remembered from now on; `undefined`: it is refused, in words, and the field has the focus. */
  take(): string | undefined {
    const name = this.check();
    if (name === undefined) this.input.focus();
    else if (name !== "") rememberName(name);
    return name;
  }

  private check(): string | undefined {
    const { name, fault } = checkName(this.input.value);
    const isFine = fault === undefined || (fault === "empty" && !this.isNeeded && this.input.value.trim() === "");
    this.refusal.textContent = isFine ? "" : nameWords(fault);
    this.input.setAttribute("aria-invalid", String(!isFine));
    if (!isFine) return undefined;
    return name ?? "";
  }
}
