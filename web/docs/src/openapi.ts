// The OpenAPI document as the page reads it: references resolved, calls in reading order, an example for everything.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

interface Reference {
  $ref?: string;
}

export interface Schema extends Reference {
  type?: string | string[];
  description?: string;
  format?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  enum?: Json[];
  const?: Json;
  default?: Json;
  example?: Json;
  examples?: Json[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  pattern?: string;
}

export interface Parameter extends Reference {
  name: string;
  in: "path" | "query" | "header" | "cookie";
  required?: boolean;
  description?: string;
  schema?: Schema;
  example?: Json;
}

export interface Example extends Reference {
  summary?: string;
  value?: Json;
}

export interface Media {
  schema?: Schema;
  example?: Json;
  examples?: Record<string, Example>;
}

export interface Header extends Reference {
  description?: string;
  schema?: Schema;
}

export interface Answer extends Reference {
  description: string;
  headers?: Record<string, Header>;
  content?: Record<string, Media>;
}

export interface Operation {
  operationId?: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content: Record<string, Media> };
  responses: Record<string, Answer>;
  security?: Record<string, string[]>[];
}

export interface OpenApi {
  info: { title: string; version: string; summary?: string; description?: string };
  servers?: { url: string }[];
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
  components?: Record<string, Record<string, Json>>;
}

/** One call of the API. */
export interface Call {
  id: string;
  method: string;
  path: string;
  operation: Operation;
}

/** Calls of one tag, in the order of their paths and of METHODS. */
export interface Group {
  name: string;
  description: string;
  calls: Call[];
}

const METHODS = ["post", "get", "put", "patch", "delete"];
/** Deeper than any answer of ours; a schema that contains itself ends here. */
const DEPTH_MAX = 8;

/** The document with every mention of the configured address replaced by the one that the page came from: it answers there as well. */
export function readAt(origin: string, text: string): OpenApi {
  const document = JSON.parse(text) as OpenApi;
  const server = document.servers?.[0]?.url;
  if (server === undefined || server === origin) return document;
  return JSON.parse(text.replaceAll(server, origin)) as OpenApi;
}

export class Description {
  constructor(readonly document: OpenApi) {}

  get server(): string {
    return this.document.servers?.[0]?.url ?? "";
  }

  /** What a `$ref` within the document stands for; anything else is itself. */
  resolve<T extends Reference>(value: T): T {
    if (value.$ref === undefined) return value;
    let found: unknown = this.document;
    for (const step of value.$ref.replace(/^#\//, "").split("/")) {
      found = (found as Record<string, unknown> | undefined)?.[step.replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    if (found === undefined) throw new Error(`the document refers to ${value.$ref}, which it does not have`);
    // What stands beside a reference is said of this place and comes first (OpenAPI 3.1).
    const { $ref: _, ...beside } = value;
    return { ...this.resolve(found as T), ...beside };
  }

  groups(): Group[] {
    const calls = Object.entries(this.document.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method] !== undefined).map((method) => {
        const operation = item[method] as Operation;
        return { id: operation.operationId ?? `${method}-${path}`, method, path, operation };
      }),
    );
    const named = (this.document.tags ?? []).map(({ name, description }) => ({
      name,
      description: description ?? "",
      calls: calls.filter((call) => (call.operation.tags ?? ["Other"])[0] === name),
    }));
    const left = calls.filter((call) => !named.some((group) => group.calls.includes(call)));
    return [...named, { name: "Other", description: "", calls: left }].filter((group) => group.calls.length > 0);
  }

  /** The schema itself behind a reference and behind "or null". */
  schema(given: Schema): Schema {
    const schema = this.resolve(given);
    const real = schema.oneOf?.filter((one) => one.type !== "null");
    return schema.oneOf !== undefined && real?.length === 1 ? { ...this.schema(real[0] as Schema), ...described(schema) } : schema;
  }

  /** A value that the schema admits: its example, else made of those of its parts. */
  exampleOf(given: Schema, depth = 0): Json {
    const schema = this.schema(given);
    const stated = schema.example ?? schema.examples?.[0] ?? schema.const ?? schema.default ?? schema.enum?.[0];
    if (stated !== undefined) return stated;
    if (depth >= DEPTH_MAX) return null;
    const parts = schema.allOf?.map((part) => this.exampleOf(part, depth + 1)) ?? [];
    const own = ordered(schema).map(([name, property]) => [name, this.exampleOf(property, depth + 1)] as const);
    if (own.length > 0 || parts.length > 0) return Object.assign({}, ...parts, Object.fromEntries(own)) as Json;
    const alternative = schema.oneOf?.[0] ?? schema.anyOf?.[0];
    if (alternative !== undefined) return this.exampleOf(alternative, depth + 1);
    switch (kinds(schema)[0]) {
      case "array":
        return schema.items === undefined ? [] : [this.exampleOf(schema.items, depth + 1)];
      case "integer":
      case "number":
        return schema.minimum ?? 0;
      case "boolean":
        return false;
      case "string":
        return schema.format === "date-time" ? "2025-01-16T12:00:00Z" : "…";
      default:
        return {};
    }
  }

  /** Named examples of a body; without any, one made from the schema, with an empty name. */
  examplesOf(media: Media): [name: string, value: Json][] {
    if (media.example !== undefined) return [["", media.example]];
    const named = Object.entries(media.examples ?? {}).map(
      ([name, example]) => [name, this.resolve(example).value ?? null] as [string, Json],
    );
    if (named.length > 0) return named;
    return media.schema === undefined ? [] : [["", this.exampleOf(media.schema)]];
  }
}

/** Properties: those that are required as they are listed there, which is how the answer has them, then the others. */
export function ordered(schema: Schema): [name: string, property: Schema][] {
  const rank = (name: string): number => {
    const index = (schema.required ?? []).indexOf(name);
    return index < 0 ? Number.MAX_SAFE_INTEGER : index;
  };
  return Object.entries(schema.properties ?? {}).sort(([one], [other]) => rank(one) - rank(other));
}

function described(schema: Schema): Schema {
  return schema.description === undefined ? {} : { description: schema.description };
}

/** The types of a schema without "null". */
export function kinds(schema: Schema): string[] {
  const types = Array.isArray(schema.type) ? schema.type : schema.type === undefined ? [] : [schema.type];
  return types.filter((type) => type !== "null");
}
