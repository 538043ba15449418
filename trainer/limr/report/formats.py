"""Numbers and texts as a reader wants them."""

from __future__ import annotations

import unicodedata

from limr.stage import Interval

LONGEST_TEXT = 400


def percent(share: float, digits: int = 1) -> str:
    """0.7123 -> "71.2" (the unit stands in the heading)."""
    return f"{100 * share:.{digits}f}"


def points(share: float) -> str:
    """A difference of shares in percentage points with its sign; the minus is the long one."""
    return _long_minus(f"{round(100 * share, 1) + 0.0:+.1f}")  # + 0.0: no minus before a zero


def interval_percent(interval: Interval) -> str:
    return f"{percent(interval.low)} to {percent(interval.high)}"


def interval_points(interval: Interval) -> str:
    return f"{points(interval.low)} to {points(interval.high)}"


def count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def decimal(number: float, digits: int = 2) -> str:
    return _long_minus(f"{number:.{digits}f}")


def short(number: float) -> str:
    """For axes: 1,500 -> "1.5k", 2,000,000 -> "2M", 0.25 -> "0.25", 0.00002 -> "2e−5"."""
    size = abs(number)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return _long_minus(f"{number / limit:.3g}{unit}")
    if 0 < size < 1e-3:
        mantissa, exponent = f"{number:.1e}".split("e")
        return _long_minus(f"{float(mantissa):g}e{int(exponent)}")
    return _long_minus(f"{number:.3g}")


def _long_minus(number: str) -> str:
    return number.replace("-", "−")


def duration(hours: float | None) -> str:
    """In units that suit its size: "3 h 20 min", "14 min", "1.9 min", "38 s"."""
    if hours is None:
        return "–"
    seconds = hours * 3600
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 10:
        return f"{seconds / 60:.1f} min"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 6000:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{hours:,.0f} h"


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text on one page and in one encoding: cut to `longest` characters, control characters made visible."""
    shown = text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
    return "".join(character if _is_plain(character) else _visible(character) for character in shown)


def _is_plain(character: str) -> bool:
    return character == "\n" or unicodedata.category(character) not in ("Cc", "Cs", "Cf")


def _visible(character: str) -> str:
    """Unicode's own pictures for the control characters; a replacement character for the rest."""
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    return "\ufffd" if unicodedata.category(character) == "Cs" else f"⟨{ord(character):04X}⟩"
