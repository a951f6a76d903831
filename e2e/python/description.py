"""Holds a running server to its own OpenAPI document.

Arguments: the API's address, an access token with every scope, seconds to spend, examples per call. First the document itself: valid OpenAPI
3.1, and each of its examples fits the schema that it stands beside. Then schemathesis asks the server whatever the document allows and forbids.
"""

import json
import pathlib
import subprocess
import sys
import urllib.request

from jsonschema import FormatChecker
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

# An ended meeting can still be looked at (`ended_at`), so "use after free" is no fault here.
CHECKS_LEFT_OUT = "use_after_free"
SEED = "20250116"


def media_of(document):
    """Every body that is described: where it stands, its schema, its examples."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            bodies = {"request": operation.get("requestBody", {})} | operation["responses"]
            for name, body in bodies.items():
                for media_type, media in resolve(document, body).get("content", {}).items():
                    values = [resolve(document, example)["value"] for example in media.get("examples", {}).values()]
                    values += [media["example"]] if "example" in media else []
                    yield f"{method} {path} {name} {media_type}", media.get("schema", {}), values
    for name, schema in document["components"]["schemas"].items():
        reference = {"$ref": f"#/components/schemas/{name}"}
        yield f"schema {name}", reference, [schema["example"]] if "example" in schema else []
        for field, part in schema.get("properties", {}).items():
            yield f"schema {name}.{field}", part, [part["example"]] if "example" in part else []


def resolve(document, value):
    while "$ref" in value:
        found = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def check_examples(document):
    count = 0
    for where, schema, values in media_of(document):
        for value in values:
            # References are looked up in the whole document.
            validator = OAS31Validator({**document, **schema}, format_checker=FormatChecker())
            for error in validator.iter_errors(value):
                sys.exit(f"{where}: the example does not fit: {error.message}")
            count += 1
    return count


def main():
    url, token, seconds, examples = sys.argv[1:]
    with urllib.request.urlopen(f"{url}/api/v1/openapi.json") as answer:
        document = json.load(answer)
    validate(document)
    print(json.dumps({"event": "document", "examples": check_examples(document)}), flush=True)
    config = pathlib.Path(__file__).with_name("schemathesis.toml")
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(config), "run"]
    command += [f"{url}/api/v1/openapi.json", "--url", url]
    command += ["--header", f"Authorization: Bearer {token}", "--checks", "all", "--exclude-checks", CHECKS_LEFT_OUT]
    command += ["--max-time", seconds, "--max-examples", examples, "--seed", SEED, "--request-timeout", "10"]
    command += ["--continue-on-failure", "--warnings", "off"]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
