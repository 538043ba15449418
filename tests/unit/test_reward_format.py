import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from limr.reward.format import Malformed, final_answer, has_repetition, odd_share

REPETITION = re.compile(r"(.{5,}?)\1{4,}", re.DOTALL)  # the definition; quadratic


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"So \boxed{5}.", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {7}", "7"),
        (r"first \boxed{1}, no: \boxed{2}", "2"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{\text{a \} b}}", r"\text{a \} b}"),
        (r"\boxed{}", ""),
        (r"\boxed{4} and then \boxed{5", "4"),
        (r"\boxed{1}\boxed{2}\boxed{3}\boxed{4}", "4"),
        ("\\boxed{1\n2}", "1\n2"),
        ("\\boxed{1\0}", "1\0"),
    ],
)
def test_the_last_complete_box_is_the_answer(response: str, answer: str) -> None:
    assert final_answer(response, truncated=False) == answer


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "no \\boxed{}"),
        ("The answer is 5.", "no \\boxed{}"),
        (r"\boxed 5", "no \\boxed{}"),
        (r"\boxed{5", "closed"),
        (r"\boxed{\frac{1}{2}", "closed"),
        (r"\boxed{5} " * 2 + r"\boxed{6} \boxed{7} \boxed{8}", "5 times"),
        (r"\boxed{5}" + "中" * 4, "31% odd"),
        (r"\boxed{5}" + "\0" * 9, "50% odd"),
        (r"\boxed{5}" + " wait" * 5, "in a row"),
        ("Let me see.\n" * 5 + r"\boxed{5}", "in a row"),
        (r"\boxed{" + "3" * 25 + "}", "in a row"),
    ],
)
def test_a_broken_rule_is_named(response: str, reason: str) -> None:
    result = final_answer(response, truncated=False)
    assert isinstance(result, Malformed)
    assert reason in result.reason


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{5}" + "中" * 3,  # 25 %
        r"∀x∈ℝ: x²≥0 \boxed{5}",
        r"\boxed{5}" + " wait" * 4,
        r"\boxed{5}" + "abcd" * 4,
        " " * 100 + r"\boxed{5}" + "\n" * 100,  # outside the response
    ],
)
def test_just_within_the_rules(response: str) -> None:
    assert final_answer(response, truncated=False) == "5"


@given(st.text())
def test_truncated_is_always_malformed(response: str) -> None:
    assert isinstance(final_answer(response + r"\boxed{5}", truncated=True), Malformed)


@given(st.text(st.characters(), max_size=200) | st.text("\\boxed{} $\0é", max_size=200))
def test_never_raises(response: str) -> None:
    assert isinstance(final_answer(response, truncated=False), str | Malformed)


def test_odd_characters() -> None:
    assert odd_share("") == 0
    assert odd_share("".join(map(chr, range(32, 127))) + "\t\r\n\u2003∑√≤∞") == 0
    assert odd_share("aé") == 0.5
    assert odd_share("\0\x7f\ud800π中") == 1


chunks = st.tuples(st.text("abc", min_size=1, max_size=40), st.integers(1, 7))
repetitive = st.tuples(st.lists(chunks, max_size=6), st.integers(0, 60)).map(
    lambda parts: "".join(chunk * times for chunk, times in parts[0])[parts[1] :]
)


@given(repetitive)
@example("a" * 25)
@example("a" * 24)
@example("abcdefg" * 4 + "abcdef")
@example("x" + "abcdefghijklmnopqrstuvwxyz" * 5)
def test_repetition_equals_its_definition(text: str) -> None:
    assert has_repetition(text) == bool(REPETITION.search(text))


def fibonacci_word(length: int) -> str:
    """Many near-repetitions, none of them five times: the worst case of a naive search."""
    shorter, longer = "a", "b"
    while len(longer) < length:
        shorter, longer = longer, longer + shorter
    return longer[:length]


@pytest.mark.parametrize(
    "text",
    [
        fibonacci_word(1_000_000),
        "".join(chr(97 + i % 26) * 24 for i in range(40_000)),
        "\\boxed{" * 4 + "{" * 1_000_000,
        "\\boxed" + " " * 1_000_000,
        "\0" * 1_000_000 + "\\boxed{5}",
        "\\boxed{" + " ".join(map(str, range(150_000))) + "}",
    ],
    ids=["fibonacci", "runs", "braces", "spaces", "NUL", "long answer"],
)
@pytest.mark.timeout(60)  # the obvious ways take hours
def test_a_megabyte_is_no_problem(text: str) -> None:
    final_answer(text, truncated=False)
    has_repetition(text)
