"""The fields of one row of a file, checked: each mistake is a sentence with file, row, field and what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from limr.dataset import text_problem
from limr.errors import LimrError

Record = Mapping[str, Any]


def prompt(record: Record, name: str, row: int) -> tuple[str, bool]:
    """What names the row's prompt, and whether that is its text; else it is its id.

    The text counts when there is one, because it is the same in every tool, and an id is not.
    """
    for field in ("prompt", "prompt_id"):
        value = record.get(field)
        if isinstance(value, str):
            if wrong := text_problem(value):
                raise LimrError(f"{name}: row {row}: field {field!r} {wrong}")
            return value, field == "prompt"
    for field in ("prompt", "prompt_id"):
        if field in record:
            raise LimrError(f"{name}: row {row}: field {field!r} is {kind(record[field])}; write its text")
    raise _missing(record, "'prompt' or 'prompt_id'", name, row)


def whole(record: Record, field: str, name: str, row: int) -> int:
    value = record.get(field)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    if field not in record:
        raise _missing(record, "'epoch' or 'step'" if field == "step" else repr(field), name, row)
    raise LimrError(f"{name}: row {row}: field {field!r} is {kind(value)}; write a whole number from 1")


def finite(record: Record, field: str, name: str, row: int) -> float:
    value = record.get(field)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if field not in record:
        raise _missing(record, repr(field), name, row)
    raise LimrError(f"{name}: row {row}: field {field!r} is {kind(value)}; write a finite number")


def kind(value: object) -> str:
    """A value as a person would name it in a sentence."""
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def _missing(record: Record, fields: str, name: str, row: int) -> LimrError:
    has = ", ".join(record) or "nothing"
    return LimrError(f"{name}: row {row}: field {fields} is missing (it has: {has}); add it or remove the row")
