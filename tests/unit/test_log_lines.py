"""Lines of a log: made records of, read, cut to what a status may hold, and without credentials."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.credentials import MASK, Mask
from limr.log_lines import CHARACTERS, LINE_CHARACTERS, LINES, bounded, readable, record_of, structured, timed

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ABOUT = {"stage": "probe", "attempt": 2}
RECORD = {"time": "2026-01-02T03:04:05.678+00:00", "level": "ERROR", "logger": "limr.train", "message": "engine 0 died"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
RECORDS = st.dictionaries(st.text(), VALUES, max_size=3).map(lambda more: more | RECORD)


def refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def parsed(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return found


@given(st.text() | VALUES.map(json.dumps) | RECORDS.map(json.dumps))
def test_every_line_becomes_a_record(line: str) -> None:
    made = structured(line, ABOUT, NOW)
    assert "\n" not in made
    found = parsed(made)
    assert found.items() >= ABOUT.items()
    kept = {key: value for key, value in found.items() if key not in ABOUT}
    assert line == found["message"] or {**json.loads(line), **ABOUT} == {**kept, **ABOUT}
    assert record_of(made) == found
    assert structured(made, ABOUT, NOW) == made


@pytest.mark.parametrize(
    "line",
    ["", "{", '{"a": 1}', "[1]", '{"a":' * 100_000, json.dumps({**RECORD, "level": 3}), '{"time": 1e999'],
    ids=lambda line: line[:8] or "nothing",
)
def test_what_is_no_record_is_wrapped(line: str) -> None:
    wrapped = {"time": NOW.isoformat(), "level": "INFO", "logger": "output", "message": line}
    assert parsed(structured(line, ABOUT, NOW)) == wrapped | ABOUT


def test_a_number_that_json_lacks_does_not_get_in() -> None:
    line = json.dumps(RECORD)[:-1] + ', "loss": 1e999}'
    assert parsed(structured(line, ABOUT, NOW))["message"] == line


def test_a_person_reads_level_message_and_traceback() -> None:
    crash = {**RECORD, "exception": "Traceback (most recent call last):\n  …\nKeyError: 1"}
    assert readable(json.dumps(crash)) == [
        "ERROR engine 0 died",
        "Traceback (most recent call last):",
        "  …",
        "KeyError: 1",
    ]
    assert timed(json.dumps(RECORD)) == ["2026-01-02 03:04:05 ERROR engine 0 died"]
    assert timed(structured("(Host pid=7) loading", ABOUT, NOW)) == ["2026-01-02 03:04:05 (Host pid=7) loading"]
    assert timed("Ray runtime started.") == ["Ray runtime started."]


@given(st.lists(st.text(max_size=2 * LINE_CHARACTERS), max_size=2 * LINES))
def test_a_status_holds_few_short_lines_of_plain_text(lines: list[str]) -> None:
    kept = bounded(lines)
    assert len(kept) <= LINES
    assert sum(map(len, kept)) <= CHARACTERS
    assert all(line.isprintable() and line == line.rstrip() != "" for line in kept)
    assert bounded(kept) == kept
    json.dumps(kept, ensure_ascii=False).encode()  # no half of a surrogate pair


def test_a_status_holds_the_last_lines_as_a_terminal_shows_them() -> None:
    lines = [
        "first",
        *["x" * LINE_CHARACTERS] * 4,
        "",
        "\x1b[31mred\x1b[0m\t!",
        " 10%|█ \r100%|█████",
        "y" * 500,
        "\a\n",
    ]
    assert bounded(lines) == (*["x" * 300] * 3, "red !", "100%|█████", "y" * 299 + "…", "\ufffd")


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUt/nFEMI+K7",
    "WANDB_API_KEY": "0123456789abcdef",
    "MLFLOW_TRACKING_PASSWORD": "pass word",
    "hf_token": "hf_abcdefgh",
    "SIGNING_KEY": "-----BEGIN\nMIIEvQIBADANBg\nkqhkiG9w0B\n",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "true",
    "HOME": "/home/limr",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key wJalrXUt/nFEMI+K7!", "key ***!"),
        ("?key=wJalrXUt%2FnFEMI%2BK7&x", "?key=***&x"),
        ("0123456789abcdef, hf_abcdefgh, pass word", "***, ***, ***"),
        ("a MIIEvQIBADANBg b kqhkiG9w0B", "a *** b ***"),
        ("AKIAEXAMPLE is true in /home/limr", "AKIAEXAMPLE is true in /home/limr"),
        ("https://me:p@ss@host/a@b and s3://b/c?mail=x@y", "https://***@host/a@b and s3://b/c?mail=x@y"),
        ("postgres://token@db, http://host", "postgres://***@db, http://host"),
    ],
)
def test_credentials_are_masked(text: str, expected: str) -> None:
    assert Mask(SECRETS)(text) == expected


@given(st.text(), st.sampled_from(["wJalrXUt/nFEMI+K7", "hf_abcdefgh"]), st.text())
def test_no_credential_is_left(before: str, secret: str, after: str) -> None:
    line = f"{before}{secret}{after}"
    mask = Mask(SECRETS)
    assert secret not in mask(line)
    assert MASK in mask(line)
    record = parsed(structured(json.dumps({**RECORD, "exception": line, "more": [{"a": line}]}), ABOUT, NOW, mask))
    assert secret not in json.dumps(record, ensure_ascii=False)


def test_without_credentials_nothing_is_masked() -> None:
    assert Mask({"HOME": "/root"})("/root") == "/root"
