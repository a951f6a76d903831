// What is in a body, as a list of fields with their types, bounds and meanings.

import { element } from "../../page/src/dom.ts";
import { kinds, ordered, type Description, type Schema } from "./openapi.ts";
import { markdown } from "./text.ts";

/** Deeper than any body of ours; a schema that contains itself ends here. */
const DEPTH_MAX = 6;

/** The fields of an object, or what an array of them holds; nothing for a schema without fields. */
export function fields(description: Description, given: Schema, depth = 0): HTMLElement | undefined {
  const schema = inner(description, given);
  const alternatives = (schema.oneOf ?? schema.anyOf)?.map((one) => description.schema(one)) ?? [];
  const parts = [schema, ...(schema.allOf ?? []).map((part) => description.schema(part))];
  const properties = parts.flatMap((part) => ordered(part));
  if (depth >= DEPTH_MAX || (properties.length === 0 && alternatives.length === 0)) return undefined;
  const required = new Set(parts.flatMap((part) => part.required ?? []));
  const rows = properties.map(([name, property]) => {
    const about = description.schema(property);
    return row(name, typeOf(description, about), required.has(name), about, fields(description, about, depth + 1));
  });
  const others = alternatives.map((one) =>
    element("li", {}, element("span", { class: "type" }, "one of"), fields(description, one, depth + 1) ?? typeOf(description, one)),
  );
  return element("ul", { class: "fields" }, ...rows, ...others);
}

/** One field, or one parameter. */
export function row(name: string, type: string, isRequired: boolean, about: Schema, below?: HTMLElement): HTMLElement {
  const head = element(
    "div",
    { class: "field" },
    element("code", { class: "name" }, name),
    element("span", { class: "type" }, type),
    isRequired ? element("span", { class: "required" }, "required") : undefined,
  );
  const made = element("li", {}, head);
  if (about.description !== undefined) made.append(prose(about.description));
  const bounds = boundsOf(about);
  if (bounds.length > 0) made.append(element("p", { class: "bounds" }, bounds.join(" · ")));
  if (below !== undefined) {
    made.append(element("details", {}, element("summary", {}, "Fields"), below));
  }
  return made;
}

export function prose(text: string): HTMLElement {
  const made = element("div", { class: "prose" });
  made.append(markdown(text));
  return made;
}

/** A type in words: `string · date-time`, `array of string`. */
export function typeOf(description: Description, given: Schema): string {
  const schema = description.schema(given);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (kinds(schema)[0] === "array") return `array of ${schema.items === undefined ? "anything" : typeOf(description, schema.items)}`;
  if (schema.properties !== undefined || schema.allOf !== undefined) return "object";
  const kind = kinds(schema).join(" or ") || (schema.oneOf === undefined ? "any" : "one of several");
  const isOwn = schema.format !== undefined && !/^u?int\d+$/.test(schema.format);
  return isOwn ? `${kind} · ${schema.format}` : kind;
}

/** Through arrays to what they hold. */
function inner(description: Description, given: Schema): Schema {
  const schema = description.schema(given);
  return schema.items !== undefined ? inner(description, schema.items) : schema;
}

function boundsOf(schema: Schema): string[] {
  const said: string[] = [];
  if (schema.enum !== undefined)
    said.push(`one of ${schema.enum.map((value) => (typeof value === "string" ? value : JSON.stringify(value))).join(", ")}`);
  const between = (least: number | undefined, most: number | undefined, unit: string): void => {
    if (least !== undefined && most !== undefined) said.push(`${least} to ${most}${unit}`);
    else if (most !== undefined) said.push(`at most ${most}${unit}`);
    else if (least !== undefined && least > 0) said.push(`at least ${least}${unit}`);
  };
  between(schema.minimum, schema.maximum, "");
  between(schema.minLength, schema.maxLength, " characters");
  between(schema.minItems, schema.maxItems, " items");
  if (schema.default !== undefined) said.push(`default ${JSON.stringify(schema.default)}`);
  return said;
}
