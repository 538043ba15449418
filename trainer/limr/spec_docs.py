"""The table of fields in docs/spec.md, made from the spec. To renew it: `python -m limr.spec_docs docs/spec.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limr.spec import Spec

BEGIN = "<!-- fields: made by `python -m limr.spec_docs docs/spec.md`; do not edit by hand -->"
END = "<!-- end of fields -->"

_BOUNDS = {"minimum": "≥ {:g}", "exclusiveMinimum": "> {:g}", "maximum": "≤ {:g}", "exclusiveMaximum": "< {:g}"}
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
LONG = 100  # characters; a limit above it is no news

Schema = Mapping[str, Any]


def fields() -> str:
    """Markdown: a section with a table for each part of the spec."""
    schema = Spec.model_json_schema(by_alias=True)
    return "\n\n".join(_sections("spec", schema, schema["$defs"]))


def updated(page: str) -> str:
    """The page with its table replaced. Raises ValueError when the page has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the line {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{fields()}\n\n{END}{after}"


def _sections(path: str, part: Schema, parts: Mapping[str, Schema]) -> Iterator[str]:
    rows = ["| field | value | default | meaning |", "| --- | --- | --- | --- |"]
    below: list[tuple[str, Schema]] = []
    for name, field in part["properties"].items():
        value, inner = _value(field, parts)
        if inner is not None:
            below.append((f"{path}.{name}{'[]' if value == 'list of parts' else ''}", inner))
        default = "**required**" if name in part.get("required", ()) else _default(field, inner)
        rows.append(f"| `{name}` | {value} | {default} | {field['description']} |")
    yield f"### {path}\n\n" + "\n".join(rows)
    for inner_path, inner in below:
        yield from _sections(inner_path, inner, parts)


def _value(field: Schema, parts: Mapping[str, Schema]) -> tuple[str, Schema | None]:
    """What may be written, in words, and the part that it consists of."""
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    if len(options) > 1:
        return " or ".join(_value(option, parts)[0] for option in options), None
    schema = _resolved(options[0], parts)
    if "properties" in schema:
        return "part", schema
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"]), None
    if "const" in schema:
        return f"`{schema['const']}`", None
    if schema.get("type") == "array":
        return _list(schema, parts)
    if schema.get("type") == "object":
        return "names with values", None
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    if schema.get("maxLength", LONG) < LONG:
        bounds.append(f"≤ {schema['maxLength']} characters")
    return ", ".join([_TYPES[schema["type"]], *bounds]), None


def _list(schema: Schema, parts: Mapping[str, Schema]) -> tuple[str, Schema | None]:
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} numbers", None
    text, inner = _value(schema["items"], parts)
    return f"list of {text}s" if inner is not None else f"list: {text}", inner


def _resolved(schema: Schema, parts: Mapping[str, Schema]) -> Schema:
    return parts[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _default(field: Schema, inner: Schema | None) -> str:
    default = field.get("default")
    if default is None or default in ({}, []):
        return ""
    if inner is None:
        return f"`{_yaml(default)}`"
    return "" if isinstance(default, dict) else f"`{_yaml([{'name': entry['name']} for entry in default])}`"


def _yaml(value: Any) -> str:
    """As a person writes it in a file: 5e-7, not 5e-07."""
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-")
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(updated(file.read_text(encoding="utf-8")), encoding="utf-8")
