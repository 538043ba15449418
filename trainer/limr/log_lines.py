"""Lines of a log: a JSON object each, as `limr.logs` writes them, or whatever a library printed. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Record = Mapping[str, Any]

FIELDS = ("time", "level", "logger", "message")  # texts that every record has
EXCEPTION = "exception"
PRINTED = "output"  # the logger of what was printed, not logged

# Of an attempt that failed its status keeps so much.
LINES, LINE_CHARACTERS, CHARACTERS = 10, 300, 1500

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def structured(line: str, about: Record, now: datetime, mask: Callable[[str], str] = str) -> str:
    """`line` as one JSON object that says what it is about; `mask` is applied to each text in it."""
    wrapped = {"time": now.astimezone(UTC).isoformat(), "level": "INFO", "logger": PRINTED, "message": line}
    try:
        return _dumped({**(record_of(line) or wrapped), **about}, mask)
    except (ValueError, RecursionError):  # a number such as 1e999, or brackets without end
        return _dumped({**wrapped, **about}, mask)


def record_of(line: str) -> Record | None:
    """What a line says that was logged by us; None for any other."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and all(isinstance(found.get(field), str) for field in FIELDS)
    return found if ours else None


def readable(line: str) -> list[str]:
    """A record as a person reads it, level and message, then its traceback; other lines as they are."""
    record = record_of(line)
    if record is None:
        return [line]
    level = "" if record["logger"] == PRINTED else f"{record['level']} "
    return [*f"{level}{record['message']}".split("\n"), *str(record.get(EXCEPTION, "")).splitlines()]


def timed(line: str) -> list[str]:
    """As `readable`, with the time, in UTC to the second, before the first line."""
    record = record_of(line)
    first, *others = readable(line)
    return [f"{record['time'][:19].replace('T', ' ')} {first}" if record else first, *others]


def bounded(lines: Iterable[str]) -> tuple[str, ...]:
    """The last of them that say something, as much as a status may hold, without what only a terminal understands."""
    kept: list[str] = []
    room = CHARACTERS
    for line in reversed([text for line in lines if (text := _plain(line))][-LINES:]):
        room -= len(line)
        if room < 0:
            break
        kept.append(line)
    return tuple(reversed(kept))


def tail(log: str) -> tuple[str, ...]:
    """What the end of a log says, as a status may hold it. Where it has records, other lines are not the stage's:
    half a record, with which it begins, or what Ray says of the job."""
    lines = log.split("\n")
    records = [line for line in lines if record_of(line)]
    return bounded(text for line in records or lines for text in readable(line))


def _plain(line: str) -> str:
    """What a terminal shows of it: colours left out, and what a progress bar has overwritten."""
    shown = _ESCAPES.sub("", line).rstrip().rpartition("\r")[2].expandtabs(4)
    text = "".join(character if character.isprintable() else "\ufffd" for character in shown).rstrip()
    return text if len(text) <= LINE_CHARACTERS else f"{text[: LINE_CHARACTERS - 1]}…"


def _dumped(record: Record, mask: Callable[[str], str]) -> str:
    return json.dumps(_masked(record, mask), allow_nan=False)


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    match value:
        case str():
            return mask(value)
        case dict():
            return {key: _masked(item, mask) for key, item in value.items()}
        case list():
            return [_masked(item, mask) for item in value]
        case _:
            return value
