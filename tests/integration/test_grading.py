"""The paper's rule, by a grader with its real processes."""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limr.reward.pool import Grader
from limr.reward.verdict import Grade, GradeRequest, Verdict
from limr.spec import Reward

pytestmark = pytest.mark.integration

MATH = Path(__file__).parents[3] / "shared" / "data" / "math.8k.json"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(Reward(workers=2, timeout_seconds=2)) as grader:
        yield grader


def boxed(content: str, answer: str, truncated: bool = False) -> GradeRequest:
    return GradeRequest(f"So it is $\\boxed{{{content}}}$.", answer, truncated)


def verdicts(grades: list[Grade]) -> list[str]:
    return [grade.verdict.value for grade in grades]


def test_verdicts_and_rewards(grader: Grader) -> None:
    grades = grader.grade(
        [
            boxed("5", "5"),
            boxed(r"\frac{1}{2}", "0.5"),
            boxed("6", "5"),
            boxed("y", "x^2"),
            boxed("5", "5", truncated=True),
            GradeRequest("5", "5"),
        ]
    )
    assert verdicts(grades) == ["correct", "correct", "wrong", "wrong", "format", "format"]
    assert [grade.reward for grade in grades] == [1, 1, -0.5, -0.5, -1, -1]


def test_rewards_are_the_specs() -> None:
    with Grader(Reward(correct=2, wrong=0, malformed=-3)) as grader:
        grades = grader.grade([boxed("5", "5"), boxed("6", "5"), GradeRequest("", "5")])
    assert [grade.reward for grade in grades] == [2, 0, -3]


def test_nothing_to_grade(grader: Grader) -> None:
    assert grader.grade([]) == []


def test_what_hangs_costs_only_its_own_row(grader: Grader) -> None:
    good = [boxed(f"x+{n}", f"{n}+x") for n in range(40)]
    rows = [*good[:20], boxed("9^{9^{9^9}}", "7"), boxed("10!!!!!", "7"), *good[20:]]
    grades = grader.grade(rows)
    assert verdicts(grades) == ["correct"] * 20 + ["timeout"] * 2 + ["correct"] * 20
    assert grades[20] == Grade(Verdict.TIMEOUT, -1.0, "out of processor time")
    assert grader.grade(rows) == grades


def test_nul_bytes_and_megabytes(grader: Grader) -> None:
    long = " ".join(map(str, range(150_000)))
    grades = grader.grade([boxed(long, long), boxed("\0", "\0"), boxed("5\0", "6"), boxed(long, "5"), boxed("5", long)])
    assert verdicts(grades)[:3] == ["correct", "correct", "wrong"]
    assert set(verdicts(grades)[3:]) <= {"wrong", "timeout"}


words = ["1", "2", "x", "+", "-", "\\frac", "{", "}", "^", "\\sqrt", ",", "(", ")", "=", "\\text{a}", "$", "\\"]
mathematics = st.lists(st.sampled_from(words) | st.characters(), max_size=6).map("".join)
requests = st.builds(boxed, mathematics, mathematics, st.booleans()) | st.builds(GradeRequest, st.text(), st.text())


@given(st.lists(requests, max_size=10))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_gets_one_verdict_in_order_and_always_the_same(grader: Grader, rows: list[GradeRequest]) -> None:
    grades = grader.grade(rows)
    assert len(grades) == len(rows)
    assert all(isinstance(grade.verdict, Verdict) for grade in grades)
    assert all(grade.verdict is Verdict.FORMAT for grade, row in zip(grades, rows, strict=True) if row.truncated)
    assert grader.grade(rows[::-1]) == grades[::-1]


@pytest.mark.skipif(not MATH.exists(), reason="needs the shared data")
def test_verdicts_on_real_answers_are_math_verifys(grader: Grader) -> None:
    from math_verify import parse, verify

    rng = random.Random(2)
    references = rng.sample(sorted({row["answer"] for row in json.loads(MATH.read_text()) if row["answer"]}), 80)
    pairs = [(reference, reference) for reference in references]
    pairs += [(reference.replace("\\frac", "\\dfrac").replace("(", "\\left("), reference) for reference in references]
    pairs += list(itertools.pairwise(references))
    expected = [verify(parse(f"${reference}$"), parse(f"${answer}$")) for answer, reference in pairs]
    graded = grader.grade([boxed(answer, reference) for answer, reference in pairs])
    assert verdicts(graded) == ["correct" if equal else "wrong" for equal in expected]
