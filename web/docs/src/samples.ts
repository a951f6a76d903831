// A call as one would write it in a shell or a program.

import type { Call, Description, Json, Media, Parameter } from "./openapi.ts";

/** What is sent, before it is written down in a language. */
export interface Sample {
  method: string;
  url: string;
  headers: [name: string, value: string][];
  body?: Json;
}

export const LANGUAGES = ["curl", "JavaScript", "Python"] as const;
export type Language = (typeof LANGUAGES)[number];

/** The body of a call that is written in JSON. */
export function jsonBody(call: Call): Media | undefined {
  return call.operation.requestBody?.content["application/json"];
}

/** Whether the call can be made without an access token, and whether one can be shown. */
export function access(call: Call): { needsToken: boolean; takesToken: boolean } {
  const ways = call.operation.security ?? [];
  const takesToken = ways.some((way) => "bearerAuth" in way);
  return { takesToken, needsToken: takesToken && !ways.some((way) => Object.keys(way).length === 0) };
}

/** The path with its parameters filled in; one without a value keeps its name in capitals, for the reader to replace. */
export function fill(path: string, values: (name: string) => string | undefined): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = values(name);
    return value === undefined || value === "" ? name.toUpperCase() : encodeURIComponent(value);
  });
}

/** The call with the document's examples. */
export function sampleOf(description: Description, call: Call): Sample {
  const parameters = (call.operation.parameters ?? []).map((parameter) => description.resolve(parameter));
  const value = (parameter: Parameter): string => {
    const example = parameter.example ?? parameter.schema?.example ?? parameter.schema?.default;
    if (example === undefined) return parameter.name.toUpperCase();
    return typeof example === "string" ? example : JSON.stringify(example);
  };
  const query = parameters.filter(({ in: place, required }) => place === "query" && required === true);
  const asked = query.map((parameter) => `${parameter.name}=${encodeURIComponent(value(parameter))}`).join("&");
  const headers: [string, string][] = [];
  if (access(call).takesToken) headers.push(["authorization", "Bearer $TOKEN"]);
  const media = jsonBody(call);
  if (media !== undefined) headers.push(["content-type", "application/json"]);
  for (const parameter of parameters) {
    if (parameter.in === "header" && parameter.required === true) headers.push([parameter.name.toLowerCase(), value(parameter)]);
  }
  const url = `${description.server}${fill(call.path, () => undefined)}${asked === "" ? "" : `?${asked}`}`;
  const sample: Sample = { method: call.method.toUpperCase(), url, headers };
  if (media !== undefined) sample.body = description.examplesOf(media)[0]?.[1] ?? {};
  return sample;
}

export function write(language: Language, sample: Sample): string {
  switch (language) {
    case "curl":
      return curl(sample);
    case "JavaScript":
      return javaScript(sample);
    case "Python":
      return python(sample);
  }
}

/** In single quotes, as a shell takes it; in double ones where a variable is meant. */
function quoted(text: string): string {
  return text.includes("$TOKEN") ? `"${text}"` : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function curl({ method, url, headers, body }: Sample): string {
  const implied = body === undefined ? "GET" : "POST";
  const parts = [`curl -s ${method === implied ? "" : `-X ${method} `}${url.includes("?") ? quoted(url) : url}`];
  for (const [name, value] of headers) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) parts.push(`-d ${quoted(JSON.stringify(body, null, 2))}`);
  return parts.join(" \\\n  ");
}

function javaScript({ method, url, headers, body }: Sample): string {
  const lines = [`const answer = await fetch(${JSON.stringify(url)}, {`, `  method: ${JSON.stringify(method)},`];
  const written = headers.map(([name, value]) => `${/^\w+$/.test(name) ? name : JSON.stringify(name)}: ${templated(value)}`);
  if (written.length > 0) lines.push(`  headers: { ${written.join(", ")} },`);
  if (body !== undefined) lines.push(`  body: JSON.stringify(${indented(JSON.stringify(body, null, 2), "  ")}),`);
  lines.push("});", `if (!answer.ok) throw new Error((await answer.json()).error.message);`);
  return lines.join("\n");
}

function templated(value: string): string {
  return value.includes("$TOKEN") ? `\`${value.replace("$TOKEN", "${token}")}\`` : JSON.stringify(value);
}

function python({ method, url, headers, body }: Sample): string {
  const lines = ["import requests", "", `answer = requests.${method.toLowerCase()}(`, `    ${JSON.stringify(url)},`];
  // `json=` says the media type by itself.
  const written = headers
    .filter(([name]) => name !== "content-type")
    .map(([name, value]) => {
      const text = JSON.stringify(value.replace("$TOKEN", "{token}"));
      return `${JSON.stringify(name)}: ${value.includes("$TOKEN") ? "f" : ""}${text}`;
    });
  if (written.length > 0) lines.push(`    headers={${written.join(", ")}},`);
  if (body !== undefined) lines.push(`    json=${indented(pythonic(body), "    ")},`);
  lines.push(")", "answer.raise_for_status()");
  return lines.join("\n");
}

/** JSON in Python's words; texts are left alone. */
function pythonic(body: Json): string {
  const words: Record<string, string> = { true: "True", false: "False", null: "None" };
  return JSON.stringify(body, null, 4).replaceAll(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g, (found) => words[found] ?? found);
}

function indented(text: string, by: string): string {
  return text.replaceAll("\n", `\n${by}`);
}
