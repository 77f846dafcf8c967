"""Judges views by what others made: openapi-spec-validator, PyYAML and jsonschema.

Reads one JSON document from standard input:
    {"views": {name: {"json": text, "yaml": text}},
     "answers": [{"view": name, "path": template, "method": "get", "answer": value}]}
Prints one line for each thing that is wrong, and nothing if nothing is.
"""
import json
import sys

import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def escaped(part):
    return part.replace("~", "~0").replace("/", "~1")


def undeclared(document, schema, value, at):
    """Members of an answer that its schema does not have."""
    if "$ref" in schema:
        target = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    if isinstance(value, dict):
        for name, member in value.items():
            declared = schema.get("properties", {}).get(name)
            if declared is None:
                yield f"{at}/{name}"
            else:
                yield from undeclared(document, declared, member, f"{at}/{name}")
    elif isinstance(value, list):
        for item in value:
            yield from undeclared(document, schema.get("items", {}), item, f"{at}[]")


told = json.load(sys.stdin)
views = {}
for name, view in told["views"].items():
    views[name] = document = json.loads(view["json"])
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        print(f"{name}: {list(error.absolute_path)}: {error.message[:300]}")
    if yaml.safe_load(view["yaml"]) != document:
        print(f"{name}: its yaml says something else than its json")

for shown in told["answers"]:
    document = views[shown["view"]]
    where = ["paths", shown["path"], shown["method"], "responses", "200", "content", "application/json", "schema"]
    schema = dict(document)
    schema["$ref"] = "#/" + "/".join(escaped(part) for part in where)
    name = f"{shown['view']} {shown['path']}"
    for error in Draft202012Validator(schema).iter_errors(shown["answer"]):
        # The instance is a synthetic person's.
        print(f"{name}: {list(error.absolute_path)}: {error.message[:300]}")
    start = document
    for part in where:
        start = start[part]
    for extra in undeclared(document, start, shown["answer"], ""):
        print(f"{name}: {extra} is in the answer and not in the view")
