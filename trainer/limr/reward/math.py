"""Whether an answer equals the reference: Math-Verify's judgement, behind a path that is cheap where that is certain.

Differences from Math-Verify, each argued: docs/rewards.md.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

# Math-Verify rounds decimals to 6 places; numbers further apart than this cannot round to the same.
CERTAINLY_APART = Fraction(1, 100_000)

# So short that neither a double nor Math-Verify's 15 digits lose anything that matters for CERTAINLY_APART.
_NUMBER = re.compile(
    r"(?P<sign>-?)(?:(?P<integer>[0-9]{1,12})|(?P<decimal>[0-9]{1,8}\.[0-9]{1,6})"
    r"|\\[dt]?frac\{(?P<over>[0-9]{1,4})\}\{(?P<under>[0-9]{1,4})\})"
)
_BARE_DOLLAR = re.compile(r"(?<!\\)\$")


class _Number(NamedTuple):
    value: Fraction
    exact: bool  # False for decimals, which Math-Verify compares after rounding


def quick_equal(answer: str, reference: str) -> bool | None:
    """What math_verify_equal would say, or None where only it can tell. Takes microseconds."""
    answer, reference = " ".join(answer.split()), " ".join(reference.split())
    if not answer or not reference:
        return False
    if answer == reference:
        return True
    left, right = _number(answer), _number(reference)
    if left is None or right is None:
        return None
    if left.exact and right.exact:
        return left.value == right.value
    return False if abs(left.value - right.value) > CERTAINLY_APART else None


def _number(text: str) -> _Number | None:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign = -1 if match["sign"] else 1
    if match["over"] is None:
        return _Number(sign * Fraction(match["integer"] or match["decimal"]), match["decimal"] is None)
    under = int(match["under"])
    return _Number(Fraction(sign * int(match["over"]), under), True) if under else None


def math_verify_equal(answer: str, reference: str) -> bool:
    """Math-Verify's verdict on two bare LaTeX expressions. Takes milliseconds, or forever: give it a deadline.

    Its own deadlines are off: they run on the wall clock, so that a busy machine would turn a correct answer into a
    wrong one, and they need the main thread.
    """
    from math_verify import verify

    normal_answer, normal_reference = _normalised(answer), _normalised(reference)
    if normal_answer and normal_reference:
        equal = quick_equal(normal_answer, normal_reference)
        if equal is not None:
            return equal
    return bool(verify(_parsed(reference), _parsed(answer), timeout_seconds=None))


def _normalised(content: str) -> str:
    """The text that Math-Verify parses, without units, \\left and the like: far cheaper than parsing."""
    from latex2sympy2_extended import normalize_latex  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig

    return str(normalize_latex(_plain(content), LatexExtractionConfig().normalization_config))


@lru_cache(maxsize=2048)  # the samples of one prompt share its reference; common answers stand at many prompts
def _parsed(content: str) -> Any:
    from math_verify import parse

    return parse(f"${_plain(content)}$", parsing_timeout=None)  # without a math environment it sees no LaTeX


def _plain(content: str) -> str:
    """`content` without what would end the environment early: line breaks, and dollar signs that switch it."""
    return _BARE_DOLLAR.sub("", content).replace("\n", " ").strip()
