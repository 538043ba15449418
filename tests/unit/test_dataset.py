from __future__ import annotations

import json

import pytest

from limr import dataset
from limr.errors import LimrError

GOOD = {"prompt": "What is 1 + 1?", "answer": "2"}


def parse(*rows: object) -> dataset.Dataset:
    return dataset.parse("\n".join(map(json.dumps, rows)).encode(), "data.jsonl", "prompt", "answer")


def test_a_prompt_that_stands_twice_counts_once_with_a_warning() -> None:
    parsed = parse(GOOD, {**GOOD, "answer": "3"})
    assert [prompt.answer for prompt in parsed.prompts] == ["2"]
    assert parsed.warnings == [
        "data.jsonl: row 2 repeats the prompt of row 1 with another answer ('3', not '2'); the first counts"
    ]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "x"}, r"row 2: field 'answer' is missing \(it has: prompt\)"),
        ({**GOOD, "prompt": " "}, "row 2: field 'prompt' is empty; write it or remove the row"),
        ({**GOOD, "prompt": "a\0b"}, "row 2: field 'prompt' holds a NUL byte; remove it"),
        ({**GOOD, "answer": "a\0b"}, "row 2: field 'answer' holds a NUL byte; remove it"),
        ({**GOOD, "prompt": "\ud800"}, "row 2: field 'prompt' holds half of a surrogate pair"),
        ({**GOOD, "answer": True}, "row 2: field 'answer' is bool; write text or a number"),
        (["x"], "row 2: is list, not an object"),
    ],
)
def test_a_bad_row_is_named_with_its_field(row: object, sentence: str) -> None:
    with pytest.raises(LimrError, match=sentence):
        parse(GOOD, row)
