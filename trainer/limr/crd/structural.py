"""From pydantic's JSON schema to what Kubernetes calls a structural one.

The same data is valid, but for null. It may stand where the model allows it, except for a word of a fixed
set, and in lists and parts that are compared as a whole: in CEL, what holds a null is not equal to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from limr.cel import Cel

Schema = dict[str, Any]

RULES = "x-kubernetes-validations"
ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}
KEPT = (
    "type",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
)


@dataclass(frozen=True)
class Changes:
    """Where the resource differs from the model, by paths such as evaluation.benchmarks[].uri."""

    required: Set[str] = frozenset()
    without_default: Set[str] = frozenset()
    rules: Mapping[str, tuple[Cel, ...]] = field(default_factory=dict)
    list_keys: Mapping[str, str] = field(default_factory=dict)
    without_null: Set[str] = frozenset()  # parts


def structural(model: type[BaseModel], changes: Changes, defaults: bool = True) -> Schema:
    schema = model.model_json_schema(by_alias=True)
    return _Converter(schema.get("$defs", {}), changes, defaults).converted(schema, "")


class _Converter:
    def __init__(self, parts: Mapping[str, Schema], changes: Changes, defaults: bool) -> None:
        self._parts = parts
        self._changes = changes
        self._defaults = defaults

    def converted(self, given: Schema, path: str) -> Schema:
        source = self._resolved(given)
        options = [option for option in source.get("anyOf", [source]) if option.get("type") != "null"]
        described = {key: source[key] for key in ("description",) if key in source}
        if len(options) > 1:
            return described | ANYTHING
        source = self._resolved(options[0]) | {key: value for key, value in source.items() if key != "anyOf"}
        return described | _scalar(source) | self._inner(source, path) | self._extensions(source, path)

    def _resolved(self, source: Schema) -> Schema:
        """A field's own words stand above those of the part that it refers to."""
        if "$ref" not in source:
            return source
        return self._parts[source["$ref"].rpartition("/")[2]] | {k: v for k, v in source.items() if k != "$ref"}

    def _inner(self, source: Schema, path: str) -> Schema:
        if "properties" in source:
            return self._fields(source, path)
        if source.get("type") == "array":
            first, *others = source.get("prefixItems") or [source["items"]]
            assert all(other == first for other in others), f"{path}: Kubernetes knows lists of one kind only"
            return {"items": self.converted(first, f"{path}[]")}
        if source.get("additionalProperties") is True:
            return ANYTHING
        if "additionalProperties" in source:
            return {"additionalProperties": self.converted(source["additionalProperties"], f"{path}[]")}
        return {}

    def _fields(self, source: Schema, path: str) -> Schema:
        prefix = f"{path}." if path else ""
        fields = {name: self._field(inner, f"{prefix}{name}") for name, inner in source["properties"].items()}
        required = [
            name for name in fields if name in source.get("required", ()) or self._is_required(f"{prefix}{name}")
        ]
        return ({"required": required} if required else {}) | {"properties": fields}

    def _field(self, source: Schema, path: str) -> Schema:
        schema = self.converted(source, path)
        default = source.get("default")
        if not self._defaults:
            return schema
        if default is not None and not self._is_required(path) and path not in self._changes.without_default:
            schema["default"] = _without_nulls(default)
        if {"type": "null"} in source.get("anyOf", ()) and not self._is_compared_whole(path) and "enum" not in schema:
            schema["nullable"] = True  # with an enum the server refuses null, even when it is one of the values
        return schema

    def _is_compared_whole(self, path: str) -> bool:
        return "[]" in path or path.rpartition(".")[0] in self._changes.without_null

    def _is_required(self, path: str) -> bool:
        """Also a part that has a required field, which its default would lack."""
        return any(inner == path or inner.startswith(f"{path}.") for inner in self._changes.required)

    def _extensions(self, source: Schema, path: str) -> Schema:
        added: Schema = {}
        rules = [*source.get(RULES, ()), *(rule.to_json() for rule in self._changes.rules.get(path, ()))]
        if rules:
            added[RULES] = rules
        if path in self._changes.list_keys:
            added |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self._changes.list_keys[path]]}
        return added


def _scalar(source: Schema) -> Schema:
    schema = {key: source[key] for key in KEPT if key in source}
    if source.get("type") == "integer":
        schema["format"] = "int64"
    if "const" in source or "enum" in source:
        schema["enum"] = source.get("enum") or [source["const"]]
    for bound in ("minimum", "maximum"):
        exclusive = "exclusive" + bound.capitalize()
        if exclusive in source:
            schema |= {bound: source[exclusive], exclusive: True}
    return schema


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
