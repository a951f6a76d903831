// A form that makes a call to the server that this page came from, and shows its answer. Tokens stay in this tab's memory.

import { element } from "../../page/src/dom.ts";
import type { Call, Description, Parameter } from "./openapi.ts";
import { access, fill, jsonBody } from "./samples.ts";
import { codeBlock } from "./text.ts";

/** One token for all calls; a call to get one keeps it here. */
const token = { value: "" };
const tokenFields = new Set<HTMLInputElement>();
/** An answer that goes on for longer, such as a stream of events, is shown as far as it came. */
const ANSWER_PATIENCE_MS = 10_000;
const SHOWN_HEADERS = ["location", "retry-after", "x-request-id", "x-ratelimit-remaining"];

export function tryIt(description: Description, call: Call): HTMLElement {
  const details = element("details", { class: "try" }, element("summary", {}, "Try it"));
  // Built when it is first opened: most never are.
  details.addEventListener("toggle", () => details.append(form(description, call)), { once: true });
  return details;
}

function form(description: Description, call: Call): HTMLElement {
  const parameters = (call.operation.parameters ?? []).map((parameter) => description.resolve(parameter));
  const inputs = new Map(parameters.map((parameter) => [parameter, field(parameter)] as const));
  const made = element("form");
  if (access(call).takesToken) made.append(labelled("Access token", tokenField()));
  for (const [parameter, input] of inputs) made.append(labelled(parameter.name, input));
  const media = jsonBody(call);
  let body: HTMLTextAreaElement | undefined;
  if (media !== undefined) {
    body = element("textarea", { attributes: { spellcheck: "false", rows: "8" } });
    body.value = JSON.stringify(description.examplesOf(media)[0]?.[1] ?? {}, null, 2);
    made.append(labelled("Body", body));
  }
  const answer = element("div", { class: "answer", attributes: { "aria-live": "polite" } });
  made.append(element("button", { class: "send", attributes: { type: "submit" } }, "Send"), answer);
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    answer.replaceChildren("…");
    void send(call, inputs, body?.value).then((shown) => answer.replaceChildren(...shown));
  });
  return made;
}

async function send(call: Call, inputs: Map<Parameter, HTMLInputElement>, body: string | undefined): Promise<Node[]> {
  const given = [...inputs].filter(([, input]) => input.value !== "");
  const of = (place: Parameter["in"]): [string, string][] =>
    given.filter(([parameter]) => parameter.in === place).map(([{ name }, { value }]) => [name, value]);
  const path = new Map(of("path"));
  const query = new URLSearchParams(of("query")).toString();
  const headers = new Headers(of("header"));
  if (access(call).takesToken && token.value !== "") headers.set("authorization", `Bearer ${token.value}`);
  if (body !== undefined) headers.set("content-type", "application/json");
  const url = fill(call.path, (name) => path.get(name)) + (query === "" ? "" : `?${query}`);
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), ANSWER_PATIENCE_MS);
  try {
    const response = await fetch(url, { method: call.method.toUpperCase(), headers, signal: controller.signal, body: body ?? null });
    const text = await read(response);
    keepToken(text);
    const told = SHOWN_HEADERS.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name) ?? ""}`);
    const isGood = response.ok;
    const status = element(
      "p",
      {},
      element("span", { class: `status ${isGood ? "good" : "bad"}` }, String(response.status)),
      ` ${told.join(" · ")}`,
    );
    return text === "" ? [status] : [status, codeBlock(pretty(text), "json")];
  } catch (error) {
    return [element("p", {}, `No answer: ${String(error)}`)];
  } finally {
    clearTimeout(timer);
  }
}

/** The answer's text, as far as it comes in time. */
async function read(response: Response): Promise<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (let piece = await reader?.read(); piece !== undefined && !piece.done; piece = await reader?.read()) text += piece.value;
  } catch (error) {
    if (text === "") throw error;
  }
  return text;
}

function keepToken(text: string): void {
  const found = /"access_token":\s*"([^"]+)"/.exec(text)?.[1];
  if (found === undefined) return;
  token.value = found;
  for (const input of tokenFields) input.value = found;
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function tokenField(): HTMLInputElement {
  const input = element("input", { attributes: { type: "password", autocomplete: "off", placeholder: "none" } });
  input.value = token.value;
  input.addEventListener("input", () => {
    token.value = input.value.trim();
    for (const other of tokenFields) if (other !== input) other.value = token.value;
  });
  tokenFields.add(input);
  return input;
}

function field(parameter: Parameter): HTMLInputElement {
  return element("input", {
    attributes: { autocomplete: "off", spellcheck: "false", ...(parameter.required === true ? { required: "" } : {}) },
  });
}

function labelled(name: string, input: HTMLElement): HTMLElement {
  return element("label", {}, element("span", {}, name), input);
}
