"""Numbers and hostile texts as a reader sees them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.report import formats


@pytest.mark.parametrize(
    ("hours", "written"),
    [
        (None, "–"),
        (0, "0 s"),
        (2.5 / 3600, "2.5 s"),
        (38 / 3600, "38 s"),
        (116 / 3600, "1.9 min"),
        (0.25, "15 min"),
        (3 + 1 / 3, "3 h 20 min"),
        (2000, "2,000 h"),
    ],
)
def test_duration(hours: float | None, written: str) -> None:
    assert formats.duration(hours) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "0"), (0.25, "0.25"), (1500, "1.5k"), (2e6, "2M"), (-3e9, "−3G"), (-0.5, "−0.5"), (-2e-5, "−2e−5")],
)
def test_axis_numbers_are_short(number: float, written: str) -> None:
    assert formats.short(number) == written


def test_points_have_a_sign() -> None:
    assert [formats.points(share) for share in (0.0611, -0.02, -0.0004)] == ["+6.1", "−2.0", "+0.0"]


def test_control_characters_become_visible() -> None:
    assert formats.printable("a\0b\x1b[31m\u202ec\ud800\n") == "a␀b␛[31m⟨202E⟩c\ufffd\n"


@given(st.text(st.characters(), max_size=600))
def test_any_text_can_be_written(text: str) -> None:
    shown = formats.printable(text)
    shown.encode("utf-8")
    assert "\0" not in shown
