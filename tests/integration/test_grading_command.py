import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from limr.errors import LimrError
from limr.reward import command

pytestmark = pytest.mark.integration

GOOD = {"response": r"\boxed{5}", "answer": "5"}


def run(rows: Sequence[object], *options: str) -> Result:
    lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return CliRunner().invoke(command.grade, ["-", *options], input=lines.encode("utf-8", "surrogatepass"))


def printed(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_rows_come_back_in_order_with_verdict_and_reward(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": 7, "response": r"é \boxed{5}", "answer": "5", "tags": [1, {"a": None}]},
        {"response": r"\boxed{6}", "answer": 5},
        {"response": r"\boxed{5}", "answer": "5", "truncated": True},
        {"response": r"\boxed{5}", "answer": "5", "truncated": False, "verdict": "old", "reward": 9},
        {"response": "5\0\ud800", "answer": "\0"},
        {"response": r"\boxed{\frac{1}{2}}", "answer": 0.5},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)))
    result = CliRunner().invoke(command.grade, [str(file)])
    assert result.exit_code == 0, result.output
    expected = [("correct", 1), ("wrong", -0.5), ("format", -1), ("correct", 1), ("format", -1), ("correct", 1)]
    assert printed(result) == [
        {**row, "verdict": verdict, "reward": reward} for row, (verdict, reward) in zip(rows, expected, strict=True)
    ]


def test_graded_rows_can_be_graded_again() -> None:
    once = run([GOOD, {"response": "", "answer": "5"}])
    assert run(once.stdout.splitlines()).stdout == once.stdout


def test_an_empty_file_has_no_rows() -> None:
    result = run([])
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(command.grade, [str(tmp_path / "none.jsonl")])
    assert result.exit_code != 0
    assert "none.jsonl" in result.stderr


def test_a_bad_row_is_named_and_what_came_before_stays() -> None:
    result = run([GOOD, GOOD, {"response": "5"}, GOOD])
    assert isinstance(result.exception, LimrError)
    assert str(result.exception) == "-: row 3: field 'answer' is missing (it has: response); add it"
    assert [line["verdict"] for line in printed(result)] == ["correct", "correct"]


def test_an_own_function() -> None:
    result = run([GOOD], "--function", "test_grading_processes:partial_credit")
    assert printed(result) == [{**GOOD, "verdict": "correct", "reward": 1.0}]


def test_a_function_that_is_no_path_is_refused() -> None:
    result = run([GOOD], "--function", "partial_credit")
    assert isinstance(result.exception, LimrError)
