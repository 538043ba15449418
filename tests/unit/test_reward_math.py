import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limr.reward.math import math_verify_equal, quick_equal

MATH = Path(__file__).parents[3] / "shared" / "data" / "math.8k.json"


@pytest.mark.parametrize(
    ("answer", "reference", "equal"),
    [
        ("5", "5", True),
        (" 5\n", "5", True),
        (r"\text{no way}", r"\text{no  way}", True),
        ("007", "7", True),
        ("-0", "0", True),
        ("5", "6", False),
        (r"\frac{1}{2}", r"\dfrac{2}{4}", True),
        (r"\frac{1}{2}", "0.6", False),
        ("3.14", "3.15", False),
        ("", "", False),
        ("", "5", False),
        (r"\frac{1}{2}", "0.5", None),
        ("0.3333333", r"\frac{1}{3}", None),
        ("0.333333", r"\frac{1}{3}", None),
        ("1/2", r"\frac{1}{2}", None),
        (r"\frac{1}{0}", "5", None),
        ("1,000", "1000", None),
        ("٣", "3", None),  # a digit, but not one of ours
    ],
)
def test_quick_verdicts(answer: str, reference: str, equal: bool | None) -> None:
    assert quick_equal(answer, reference) is equal


@pytest.mark.parametrize(
    ("answer", "reference", "equal"),
    [
        (r"\frac{1}{2}", "0.5", True),
        (r"\dfrac12", r"\frac{1}{2}", True),
        ("(1,2)", "(2,1)", False),
        ("x+y", "y+x", True),
        (r"\begin{pmatrix} 1 \\" + "\n2 \\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", True),
        ("$5$", "5", True),
        (r"\$18.90", "18.9", True),
        (r"10\%", "10", True),
        ("", "5", False),
        ("\\", "5", False),
        ("\0", "5", False),
    ],
)
def test_math_verify_sees_the_content_as_latex(answer: str, reference: str, equal: bool) -> None:
    assert math_verify_equal(answer, reference) is equal


integers = st.integers(-(10**6), 10**6).map(str) | st.integers(0, 999_999_999_999).map(str)
decimals = st.decimals(-1000, 1000, places=3).map(str) | st.decimals(-1, 1, places=6).map(str)
fractions = st.builds(
    "{}\\{}frac{{{}}}{{{}}}".format,
    st.sampled_from(["", "-"]),
    st.sampled_from(["", "d", "t"]),
    st.integers(0, 9999),
    st.integers(1, 9999),
)
small = st.builds("\\frac{{{}}}{{{}}}".format, st.integers(0, 4), st.integers(1, 4)) | st.integers(0, 4).map(str)


@given(integers | decimals | fractions, integers | decimals | fractions)
@settings(max_examples=150, deadline=None)
def test_quick_verdicts_on_numbers_are_math_verifys(answer: str, reference: str) -> None:
    assert quick_equal(answer, reference) in (None, math_verify_equal(answer, reference))


@given(small, small)
def test_quick_verdicts_on_equal_numbers_are_math_verifys(answer: str, reference: str) -> None:
    assert quick_equal(answer, reference) == math_verify_equal(answer, reference)


@given(st.text(max_size=100), st.text(max_size=100))
def test_quick_equal_never_raises(answer: str, reference: str) -> None:
    assert quick_equal(answer, reference) in (None, True, False)


@pytest.mark.skipif(not MATH.exists(), reason="needs the shared data")
def test_quick_verdicts_on_real_answers_are_math_verifys() -> None:
    from math_verify import parse, verify

    answers = sorted({row["answer"] for row in json.loads(MATH.read_text()) if row["answer"]})
    rng = random.Random(1)
    pairs = [(answer, answer) for answer in rng.sample(answers, 100)]
    pairs += [(rng.choice(answers), rng.choice(answers)) for _ in range(300)]
    decided = {pair: equal for pair in pairs if (equal := quick_equal(*pair)) is not None}
    assert len(decided) > 150
    assert decided == {pair: verify(parse(f"${pair[1]}$"), parse(f"${pair[0]}$")) for pair in decided}
