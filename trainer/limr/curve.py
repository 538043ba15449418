"""The history of a number over a run's steps, short enough for a status."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 40
DIGITS = 4  # significant ones


def condensed(values: Sequence[float]) -> tuple[float, ...]:
    """At most 40 numbers: means over equally many consecutive values, a power of two, the last over what is left.

    So a curve that grows keeps its form: where it would be too long, two neighbours become one.
    """
    width = 1
    while len(values) > LONGEST * width:
        width *= 2
    parts = (values[start : start + width] for start in range(0, len(values), width))
    return tuple(float(f"{sum(part) / len(part):.{DIGITS}g}") for part in parts)
