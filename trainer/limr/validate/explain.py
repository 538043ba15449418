"""What pydantic found, as a person would say it: the value, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from limr.validate.schema import Node, fields_of, model_in

Context = Mapping[str, Any]

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "fields (name: value)",
    "model_type": "fields (name: value)",
    "finite_number": "a finite number",
    "setting_type": "a number, text, true or false",
}

_LIMITS: dict[str, Callable[[Context], str]] = {
    "greater_than_equal": lambda context: f"at least {context['ge']:g}",
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']:g}",
    "less_than": lambda context: f"less than {context['lt']:g}",
}

_PATTERNS = {
    r"^[a-z](-?[a-z0-9])*$": "lower-case letters, digits and single hyphens, beginning with a letter",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "lower-case letters, digits and hyphens",
    r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$": "lower-case letters, digits, hyphens and dots",
    r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$": "the key of a label, such as example.com/rack",
    r"^/": "an absolute path",
    r"^[A-Z][A-Z0-9_]*$": "a name in capitals, such as FLASH_ATTN",
    r"^https?://[^@\s]+$": "http:// or https:// with a host, and user and password in a Secret instead",
    r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$": "package.module:function",
}


def explain(error: ErrorDetails, node: Node) -> str:
    """`node` is the place in the schema that the error is about."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    match kind:
        case "missing":
            return f"is missing; {_hint(node)}"
        case "extra_forbidden":
            return unknown_field(str(error["loc"][-1]), node.siblings)
        case "literal_error" | "enum":
            return f"is {shown(value)}; {_choice(value, context['expected'])}"
        case "string_pattern_mismatch":
            return f"is {shown(value)}; write {_PATTERNS[context['pattern']]}"
        case "string_too_short":
            return f"is empty; {_hint(node)}"
        case "string_too_long":
            return f"is {shown(value)}, {len(value)} characters; write at most {context['max_length']}"
        case "too_short":
            return f"has {context['actual_length']} entries; write at least {context['min_length']}"
        case "too_long":
            return f"has {context['actual_length']} entries; write at most {context['max_length']}"
    if kind in _LIMITS:
        return f"is {shown(value)}; write {_LIMITS[kind](context)}"
    return f"is {shown(value)}; write {_WANTED[kind]}{_quoting(kind, value)}" if kind in _WANTED else error["msg"]


def shown(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return f"fields ({', '.join(map(str, value)) or 'none'})"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def unknown_field(name: str, known: Sequence[str]) -> str:
    suggestion = similar(name, known)
    if suggestion:
        return f"unknown field; did you mean {suggestion}?"
    return f"unknown field; known here: {', '.join(known)}"


def similar(name: str, known: Sequence[str]) -> str | None:
    """The known word that `name` was probably meant to be, whatever its case and separators."""
    folded = {_folded(word): word for word in known}
    close = difflib.get_close_matches(_folded(name), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def _folded(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def _hint(node: Node) -> str:
    part = model_in(node.annotation)
    if part is not None:
        required = [name for name, field in fields_of(part).items() if field.is_required()]
        return f"write it with {', '.join(required)}"
    return f"write: {node.description}" if node.description else "write it"


def _choice(value: object, expected: str) -> str:
    words = expected.replace(" or ", ", ").replace("'", "").split(", ")
    suggestion = similar(value, words) if isinstance(value, str) else None
    if len(words) == 1:
        return f"write {words[0]}"
    listed = f"one of {', '.join(words)}"
    return f"did you mean {suggestion}? Write {listed}" if suggestion else f"write {listed}"


def _quoting(kind: str, value: object) -> str:
    if kind != "string_type" or isinstance(value, list | dict) or value is None:
        return ""
    if isinstance(value, bool):
        return " in quotes (YAML reads yes, no, on and off as true and false)"
    return f" in quotes: '{value}'"
