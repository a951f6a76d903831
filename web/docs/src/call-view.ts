// One call: what it does, what it takes and answers; beside it samples, and a form to make it.

import { element } from "../../page/src/dom.ts";
import type { Answer, Call, Description } from "./openapi.ts";
import { LANGUAGES, sampleOf, write, type Language } from "./samples.ts";
import { fields, prose, row, typeOf } from "./schema-view.ts";
import { codeBlock, markdown } from "./text.ts";
import { tryIt } from "./try-it.ts";

/** The reader's choice holds for all calls. */
const chosen = new EventTarget();
let language: Language = "curl";

export function callView(description: Description, call: Call): HTMLElement {
  const { summary, description: told } = call.operation;
  const words = element("div", { class: "words" });
  if (told !== undefined) words.append(prose(told));
  words.append(...taken(description, call), ...answered(description, call));
  const beside = element("div", { class: "beside" }, requestSamples(description, call));
  const answers = answerSamples(description, call);
  if (answers !== undefined) beside.append(answers);
  beside.append(tryIt(description, call));
  const line = element("p", { class: "line" }, method(call.method), element("code", {}, call.path));
  const anchor = element("a", { class: "anchor", attributes: { href: `#${call.id}`, "aria-label": "Link to this call" } }, "#");
  return element(
    "section",
    { class: "call", attributes: { id: call.id } },
    element("h3", {}, summary ?? call.path, anchor),
    line,
    element("div", { class: "columns" }, words, beside),
  );
}

export function method(name: string): HTMLElement {
  return element("span", { class: `method ${name}` }, name.toUpperCase());
}

/** Parameters and body. */
function taken(description: Description, call: Call): HTMLElement[] {
  const parts: HTMLElement[] = [];
  const places = [
    ["path", "Path"],
    ["query", "Query"],
    ["header", "Headers"],
  ] as const;
  const parameters = (call.operation.parameters ?? []).map((parameter) => description.resolve(parameter));
  for (const [place, title] of places) {
    const rows = parameters
      .filter((parameter) => parameter.in === place)
      .map((parameter) => {
        const schema = description.schema(parameter.schema ?? {});
        const told = parameter.description ?? schema.description;
        const about = told === undefined ? schema : { ...schema, description: told };
        return row(parameter.name, typeOf(description, schema), parameter.required === true, about);
      });
    if (rows.length > 0) parts.push(element("h4", {}, title), element("ul", { class: "fields" }, ...rows));
  }
  const contents = Object.entries(call.operation.requestBody?.content ?? {});
  const schema = contents[0]?.[1].schema;
  if (schema !== undefined) {
    const types = contents.map(([type]) => type).join(" or ");
    parts.push(element("h4", {}, "Body", element("span", { class: "type" }, types)));
    const listed = fields(description, schema);
    if (listed !== undefined) parts.push(listed);
  }
  return parts;
}

function answered(description: Description, call: Call): HTMLElement[] {
  const rows = Object.entries(call.operation.responses).map(([status, given]) => {
    const answer = description.resolve(given);
    const isGood = status.startsWith("2");
    const label = element("span", { class: `status ${isGood ? "good" : "bad"}` }, status);
    const said = element("span", { class: "said" });
    said.append(...inline(answer.description));
    const below = isGood ? content(description, answer) : undefined;
    if (below === undefined) return element("li", {}, label, said);
    return element("li", { class: "open" }, label, said, below);
  });
  return [element("h4", {}, "Answers"), element("ul", { class: "answers" }, ...rows)];
}

/** Markdown without its paragraphs, to stand in a line. */
function inline(text: string): Node[] {
  const paragraphs = [...markdown(text).querySelectorAll("p")];
  return paragraphs.flatMap((paragraph, index) => [...(index > 0 ? [element("br")] : []), ...paragraph.childNodes]);
}

/** The fields of an answer, folded away. */
function content(description: Description, answer: Answer): HTMLElement | undefined {
  const lists = Object.values(answer.content ?? {}).map((media) =>
    media.schema === undefined ? undefined : fields(description, media.schema),
  );
  const shown = lists.filter((list) => list !== undefined);
  return shown.length === 0 ? undefined : element("details", {}, element("summary", {}, "Fields"), ...shown);
}

function requestSamples(description: Description, call: Call): HTMLElement {
  const sample = sampleOf(description, call);
  const body = element("div");
  const tabs = LANGUAGES.map((name) => {
    const tab = element("button", { class: "tab", attributes: { type: "button" } }, name);
    tab.addEventListener("click", () => {
      language = name;
      chosen.dispatchEvent(new Event("change"));
    });
    return tab;
  });
  const show = (): void => {
    body.replaceChildren(codeBlock(write(language, sample), language));
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", String(LANGUAGES[index] === language)));
  };
  chosen.addEventListener("change", show);
  show();
  return element("div", { class: "panel" }, element("div", { class: "bar" }, ...tabs), body);
}

function answerSamples(description: Description, call: Call): HTMLElement | undefined {
  const samples = Object.entries(call.operation.responses).flatMap(([status, given]) => {
    const contents = Object.entries(description.resolve(given).content ?? {});
    return contents.flatMap(([type, media]) =>
      description.examplesOf(media).map(([name, value]) => ({ label: `${status} ${name || (contents.length > 1 ? type : "")}`, value })),
    );
  });
  if (samples.length === 0) return undefined;
  const body = element("div");
  const select = element("select", { attributes: { "aria-label": "Answer" } });
  select.append(...samples.map(({ label }) => element("option", {}, label)));
  const show = (): void => {
    const value = samples[select.selectedIndex]?.value ?? null;
    body.replaceChildren(typeof value === "string" ? codeBlock(value, "text") : codeBlock(JSON.stringify(value, null, 2), "json"));
  };
  select.addEventListener("change", show);
  show();
  return element("div", { class: "panel" }, element("div", { class: "bar" }, element("span", { class: "title" }, "Answer"), select), body);
}
