import io
import json

import pytest

from limr.errors import LimrError
from limr.reward.command import MAX_BYTES, batches

GOOD = json.dumps({"response": r"\boxed{5}", "answer": "5"})


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("[1]", "row 3: is list, not an object"),
        ("{", "row 3: not valid JSON at column"),
        ('{"response": "\0", "answer": "5"}', "row 3: not valid JSON at column"),
        ('{"response": "", "answer": NaN}', "row 3: NaN is not a finite number"),
        ('{"response": "", "answer": 1e999}', "row 3: 1e999 is not a finite number"),
        ('{"response": "", "answer": ' + "1" * 5000 + "}", "row 3: "),
        ("[" * 100_000, "row 3: is nested too deeply"),
        ('{"response": "\udcff", "answer": "5"}', "row 3: byte 14 is not UTF-8"),
        ({"answer": "5"}, "row 3: field 'response' is missing (it has: answer)"),
        ({}, "row 3: field 'response' is missing (it has: nothing)"),
        ({"response": "5"}, "row 3: field 'answer' is missing"),
        ({"response": None, "answer": "5"}, "row 3: field 'response' is NoneType; write text"),
        ({"response": "5", "answer": ["5"]}, "row 3: field 'answer' is list; write text or a number"),
        ({"response": "5", "answer": True}, "row 3: field 'answer' is bool; write text or a number"),
        ({"response": "5", "answer": "5", "truncated": "no"}, "row 3: field 'truncated' is str; write true or false"),
    ],
)
def test_a_bad_row_is_named_after_those_before_it(row: object, sentence: str) -> None:
    lines = [GOOD, GOOD, row if isinstance(row, str) else json.dumps(row), GOOD]
    [(rows, problem)] = batches(io.BytesIO("\n".join(lines).encode("utf-8", "surrogateescape")), "rows.jsonl")
    assert rows == [json.loads(GOOD)] * 2
    assert isinstance(problem, LimrError)
    assert str(problem).startswith(f"rows.jsonl: {sentence}")


def test_batches_bound_what_is_held() -> None:
    line = GOOD.encode() + b"\n"
    assert [len(rows) for rows, _ in batches(io.BytesIO(line * 1300), "")] == [512, 512, 276]
    long = json.dumps({"response": "x" * (MAX_BYTES // 4), "answer": "5"}).encode() + b"\n"
    assert [len(rows) for rows, _ in batches(io.BytesIO(long * 5), "")] == [4, 1]


def test_blank_lines_count_but_are_no_rows() -> None:
    [(rows, problem)] = batches(io.BytesIO(f"\n{GOOD}\n \r\n{GOOD}\nx".encode()), "rows.jsonl")
    assert len(rows) == 2
    assert str(problem).startswith("rows.jsonl: row 5: not valid JSON")
