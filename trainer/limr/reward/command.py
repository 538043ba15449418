"""`limr grade`: verdicts for a file of responses, a batch at a time, so that memory does not grow with the file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import IO, Any

import click
from pydantic import ValidationError

from limr.errors import LimrError
from limr.reward.pool import Grader
from limr.reward.verdict import GradeRequest
from limr.spec import Reward

# A batch ends at whichever comes first.
MAX_ROWS = 512
MAX_BYTES = 16 * 2**20

Row = dict[str, Any]


@click.command("grade")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--function", metavar="MODULE:NAME", help="Grade by this function instead of the paper's rule.")
def grade(file: str, function: str | None) -> None:
    """Grade the rows of a JSONL FILE ("-": standard input).

    A row is an object with "response" and "answer", the reference; "truncated": true marks a response without its end
    token. Prints each row with "verdict" and "reward" added, in order. A bad row ends the command; the rows before it
    have been printed.
    """
    with click.open_file(file, "rb") as lines, Grader(_reward(function)) as grader:
        for rows, problem in batches(lines, file):
            if rows:
                click.echo("\n".join(_graded(grader, rows)))
            if problem:
                raise problem


def _reward(function: str | None) -> Reward:
    try:
        return Reward(function=function)
    except ValidationError:
        raise LimrError(f"--function {function!r}: write package.module:function") from None


def _graded(grader: Grader, rows: list[Row]) -> Iterator[str]:
    requests = [GradeRequest(row["response"], str(row["answer"]), row.get("truncated", False)) for row in rows]
    for row, result in zip(rows, grader.grade(requests), strict=True):
        yield json.dumps({**row, "verdict": result.verdict, "reward": result.reward})


def batches(lines: IO[bytes], name: str) -> Iterator[tuple[list[Row], LimrError | None]]:
    """The rows in batches; the last one may come with what is wrong with the row after it."""
    rows: list[Row] = []
    size = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line))
        except ValueError as error:
            yield rows, LimrError(f"{name}: row {number}: {error}")
            return
        size += len(line)
        if len(rows) == MAX_ROWS or size >= MAX_BYTES:
            yield rows, None
            rows, size = [], 0
    yield rows, None


def _row(line: bytes) -> Row:
    """Raises ValueError saying what is wrong with the row, and what to do."""
    row = _parsed(line)
    if not isinstance(row, dict):
        raise ValueError(f'is {type(row).__name__}, not an object; write {{"response": …, "answer": …}}')
    for field in ("response", "answer"):
        if field not in row:
            raise ValueError(f"field {field!r} is missing (it has: {', '.join(row) or 'nothing'}); add it")
    if not isinstance(row["response"], str):
        raise ValueError(f"field 'response' is {type(row['response']).__name__}; write text")
    if not isinstance(row["answer"], str | int | float) or isinstance(row["answer"], bool):
        raise ValueError(f"field 'answer' is {type(row['answer']).__name__}; write text or a number")
    if not isinstance(row.get("truncated", False), bool):
        raise ValueError(f"field 'truncated' is {type(row['truncated']).__name__}; write true or false")
    return row


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8-sig"), parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; convert the file to UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON at column {error.colno}: {error.msg}; write one object per line") from None
    except RecursionError:
        raise ValueError("is nested too deeply; write one flat object per line") from None


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not a finite number, which JSON cannot hold; remove it")
    return value
