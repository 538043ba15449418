"""The format rules of the LIMR paper, as its reward code (GAIR-NLP/LIMR, openrlhf/cli/serve_rm.py) applies them.

Everything here is pure and takes at most O(n log n) steps in the length of the response, whatever the text: a policy
in training writes anything. Where these rules read the paper's text differently from its code: docs/rewards.md.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

MAX_BOXES = 4
MAX_ODD_SHARE = 0.3
MIN_CHUNK = 5  # characters
MAX_REPEATS = 4  # of a chunk, in a row

_BOX = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is a sign, not a bracket
_USUAL = re.compile(r"[\s!-~\u2200-\u22ff]+")  # white space, printable ASCII, mathematical operators


@dataclass(frozen=True, slots=True)
class Malformed:
    reason: str


def final_answer(response: str, truncated: bool) -> str | Malformed:
    """The content of the last complete `\\boxed{}`, or the first rule that the response breaks."""
    if truncated:
        return Malformed("no end token: the response was cut")
    text = response.strip()
    boxes = [match.end() for match in _BOX.finditer(text)]
    if not boxes:
        return Malformed("no \\boxed{}")
    if len(boxes) > MAX_BOXES:
        return Malformed(f"{len(boxes)} times \\boxed{{}}; at most {MAX_BOXES} are allowed")
    odd = odd_share(text)
    if odd > MAX_ODD_SHARE:
        return Malformed(f"{odd:.0%} odd characters; at most {MAX_ODD_SHARE:.0%} are allowed")
    if has_repetition(text):
        return Malformed(f"a chunk of {MIN_CHUNK} or more characters more than {MAX_REPEATS} times in a row")
    contents = (_braced(text, start) for start in reversed(boxes))
    return next((content for content in contents if content is not None), Malformed("no \\boxed{ is ever closed"))


def _braced(text: str, start: int) -> str | None:
    """text[start:] up to the brace that closes the one just before `start`; None when nothing closes it."""
    depth = 1
    for token in _BRACE.finditer(text, start):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            depth -= 1
            if depth == 0:
                return text[start : token.start()]
    return None


def odd_share(text: str) -> float:
    """Share of characters that are neither white space, printable ASCII nor U+2200 to U+22FF."""
    return len(_USUAL.sub("", text)) / len(text) if text else 0.0


def has_repetition(text: str) -> bool:
    """Whether some chunk of at least MIN_CHUNK characters stands more than MAX_REPEATS times in a row.

    The obvious regular expression, (.{5,}?)\\1{4,}, is quadratic: half a minute for 100,000 characters.
    """
    shortest = MIN_CHUNK
    while shortest * (MAX_REPEATS + 1) <= len(text):
        if _repeats(text, shortest, 4 * shortest):
            return True
        shortest *= 4
    return False


def _repeats(text: str, low: int, high: int) -> bool:
    """has_repetition for chunks of low ≤ length < high characters.

    In such a repetition, of period p, each of the first MAX_REPEATS·p characters equals the one p later. One of the
    blocks below lies among them, so that it occurs again at distance p: only those distances need a closer look.
    Few can be: blocks found again many times overlap, which is itself a repetition that a shorter chunk has shown.
    """
    spacing = (MAX_REPEATS - 1) * low + 1
    for start in range(0, len(text) - 2 * low + 1, spacing):
        block = text[start : start + low]
        end = start + high - 1 + low
        again = text.find(block, start + low, end)
        while again >= 0:
            period = again - start
            if _periodic_around(text, start, period) >= MAX_REPEATS * period:
                return True
            again = text.find(block, again + 1, end)
    return False


def _periodic_around(text: str, start: int, period: int) -> int:
    """How many characters in a row, `start` among them, equal the one `period` later, within MAX_REPEATS·period."""
    reach = MAX_REPEATS * period
    right = min(reach, len(text) - start - period)
    left = min(reach, start)
    after = bisect_left(
        range(1, right + 1), True, key=lambda n: text[start : start + n] != text[start + period : start + period + n]
    )
    before = bisect_left(
        range(1, left + 1), True, key=lambda n: text[start - n : start] != text[start + period - n : start + period]
    )
    return after + before
