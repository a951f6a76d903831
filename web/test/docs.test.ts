// The documentation page's pure parts: references, examples, samples.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Description, readAt, type OpenApi } from "../docs/src/openapi.ts";
import { access, fill, sampleOf, write } from "../docs/src/samples.ts";

const document: OpenApi = {
  openapi: "3.1.0",
  info: { title: "T", version: "1", description: "curl https://api.example.com/a" },
  servers: [{ url: "https://api.example.com" }],
  tags: [{ name: "B" }, { name: "A" }],
  paths: {
    "/a/{id}": {
      get: {
        operationId: "show",
        tags: ["A"],
        parameters: [{ name: "id", in: "path", required: true, schema: { type: "string" } }],
        responses: {},
        security: [{ bearerAuth: ["a:read"] }],
      },
      post: {
        operationId: "make",
        tags: ["A"],
        requestBody: { content: { "application/json": { schema: { $ref: "#/components/schemas/Thing" } } } },
        responses: {},
        security: [{}, { bearerAuth: ["a:make"] }],
      },
    },
    "/b": { get: { operationId: "list", tags: ["B"], responses: {} } },
  },
  components: {
    schemas: {
      Thing: {
        type: "object",
        required: ["name"],
        properties: {
          inner: { oneOf: [{ type: "null" }, { $ref: "#/components/schemas/Inner", description: "Here." }] },
          name: { type: "string", example: "It's" },
        },
      },
      Inner: {
        type: ["object", "null"],
        description: "There.",
        properties: { on: { type: "boolean" }, list: { type: "array", items: { type: "integer", minimum: 3 } } },
      },
    },
  },
} as unknown as OpenApi;
const description = new Description(document);
const [show, make] = (() => {
  const calls = description.groups().flatMap((group) => group.calls);
  const by = (id: string) => calls.find((call) => call.id === id) ?? assert.fail(id);
  return [by("show"), by("make")];
})();

test("calls come in the order of the tags, POST first", () => {
  const said = description.groups().map((group) => [group.name, ...group.calls.map((call) => call.id)]);
  assert.deepEqual(said, [
    ["B", "list"],
    ["A", "make", "show"],
  ]);
});

test("what stands beside a reference is said of this place", () => {
  const thing = description.schema({ $ref: "#/components/schemas/Thing" });
  assert.equal(description.schema(thing.properties?.["inner"] ?? {}).description, "Here.");
  assert.throws(() => description.resolve({ $ref: "#/components/schemas/None" }), /which it does not have/);
});

test("an example is made of those of the parts, required ones first", () => {
  const example = description.exampleOf({ $ref: "#/components/schemas/Thing" });
  assert.equal(JSON.stringify(example), '{"name":"It\'s","inner":{"on":false,"list":[3]}}');
});

test("the page shows the address that it came from", () => {
  const read = readAt("http://localhost:8080", JSON.stringify(document));
  assert.deepEqual([read.servers?.[0]?.url, read.info.description], ["http://localhost:8080", "curl http://localhost:8080/a"]);
  assert.equal(readAt("https://api.example.com", JSON.stringify(document)).info.description, "curl https://api.example.com/a");
});

test("samples can be pasted", () => {
  assert.equal(write("curl", sampleOf(description, show)), 'curl -s https://api.example.com/a/ID \\\n  -H "authorization: Bearer $TOKEN"');
  const sample = sampleOf(description, make);
  assert.ok(write("curl", sample).includes(String.raw`-d '{` + "\n" + String.raw`  "name": "It'\''s",`), write("curl", sample));
  assert.ok(write("JavaScript", sample).includes("authorization: `Bearer ${token}`"));
  const python = write("Python", sample);
  assert.ok(python.includes('f"Bearer {token}"') && python.includes('"on": False') && python.includes('"It\'s"'), python);
});

test("a token is needed, taken or neither", () => {
  assert.deepEqual(access(show), { needsToken: true, takesToken: true });
  assert.deepEqual(access(make), { needsToken: false, takesToken: true });
});

test("what is not filled in keeps its name", () => {
  assert.equal(
    fill("/a/{meeting_id}/b/{pid}", (name) => (name === "pid" ? "x/y" : undefined)),
    "/a/MEETING_ID/b/x%2Fy",
  );
});
