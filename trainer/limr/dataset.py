"""Prompts and benchmark questions from JSON and JSONL files, checked row by row before anything expensive starts."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from limr.errors import LimrError

MAX_PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class Prompt:
    prompt_id: str
    text: str
    answer: str
    row: int  # from 1, as a person counts


@dataclass(frozen=True)
class Dataset:
    prompts: list[Prompt]  # in file order, each prompt_id once
    digest: str  # "sha256:<hex>" of the file
    warnings: list[str]


def prompt_id(text: str) -> str:
    """16 hex digits that stay the same across files: SHA-256 of the text in NFC, without white space at its ends.

    Inner white space counts, as in the paper's code: its data has two prompts that differ in nothing else.
    """
    normalised = unicodedata.normalize("NFC", text).strip()
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def parse(data: bytes, name: str, prompt_field: str, answer_field: str) -> Dataset:
    """The prompts in `data`; a prompt that stands twice counts once, with a warning.

    Raises LimrError, listing every bad row at once with its number and field.
    """
    prompts: dict[str, Prompt] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for row, record in _records(data, name):
        problem = _row_problem(record, prompt_field, answer_field)
        if problem:
            problems.append(f"row {row}: {problem}")
            continue
        text, answer = str(record[prompt_field]), str(record[answer_field])
        prompt = Prompt(prompt_id(text), text, answer, row)
        first = prompts.setdefault(prompt.prompt_id, prompt)
        if not answer.strip():
            warnings.append(f"{name}: row {row}: field {answer_field!r} is empty, so no response can be correct")
        if first is not prompt:
            same = "the same answer" if first.answer == answer else f"another answer ({answer!r}, not {first.answer!r})"
            warnings.append(f"{name}: row {row} repeats the prompt of row {first.row} with {same}; the first counts")
    if problems:
        more = f"\n  … and {len(problems) - MAX_PROBLEMS_SHOWN} more" if len(problems) > MAX_PROBLEMS_SHOWN else ""
        raise LimrError(
            f"{name}: {len(problems)} unusable rows; mend or remove them:\n  "
            + "\n  ".join(problems[:MAX_PROBLEMS_SHOWN])
            + more
        )
    if not prompts:
        raise LimrError(f"{name}: the file has no rows; it must hold at least one prompt")
    return Dataset(list(prompts.values()), "sha256:" + hashlib.sha256(data).hexdigest(), warnings)


def question_field(data: bytes, name: str) -> str:
    """ "question" if the first row of a benchmark has it, else "prompt"."""
    _, first = next(_records(data, name), (0, None))
    return "question" if isinstance(first, dict) and "question" in first else "prompt"


def _records(data: bytes, name: str) -> Iterator[tuple[int, Any]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LimrError(f"{name}: byte {error.start} is not UTF-8; convert the file to UTF-8") from None
    if text.lstrip().startswith("["):
        yield from enumerate(_json(text, name), start=1)
        return
    for row, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield row, _json(line, f"{name}: row {row}")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise LimrError(
            f"{where}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            "write a JSON array of objects, or one object per line"
        ) from None


def _row_problem(record: object, prompt_field: str, answer_field: str) -> str | None:
    if not isinstance(record, dict):
        return f"is {type(record).__name__}, not an object with {prompt_field!r} and {answer_field!r}"
    for field in (prompt_field, answer_field):
        value = record.get(field)
        if field not in record:
            return f"field {field!r} is missing (it has: {', '.join(map(str, record)) or 'nothing'})"
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            return f"field {field!r} is {type(value).__name__}; write text or a number"
        wrong = text_problem(str(value))
        if wrong and (field == prompt_field or str(value).strip()):  # an empty answer is worth a warning only
            return f"field {field!r} {wrong}"
    return None


def text_problem(text: str) -> str | None:
    """Why `text` can be no prompt, and what to do; None when it can."""
    if not text.strip():
        return "is empty; write it or remove the row"
    if "\0" in text:
        return "holds a NUL byte; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no text; mend the escape"
    return None
