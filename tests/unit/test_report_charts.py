"""Charts are well-formed, inside their frame, and say what they show."""

from __future__ import annotations

import itertools
import re
from math import inf, isfinite
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.report import charts
from limr.report.charts import Estimate, Line
from limr.report.schema import Histogram
from limr.stage import Interval

finite = st.floats(-1e6, 1e6)
gappy = st.lists(st.none() | finite, min_size=1, max_size=400)


def svg(drawing: str) -> ElementTree.Element:
    """Parsed as XML, which is stricter than HTML; every coordinate must be a finite number."""
    root = ElementTree.fromstring(drawing)
    for element in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
            if name in element.attrib:
                assert isfinite(float(element.attrib[name]))
        assert not re.search("nan|inf", element.get("d", ""))
    return root


@given(st.lists(gappy, min_size=1, max_size=4))
def test_lines_of_any_values_are_drawn(series: list[list[float | None]]) -> None:
    lines = [Line(range(len(ys)), ys, "k0", f"arm {index}", "tip") for index, ys in enumerate(series)]
    root = svg(charts.line_chart(lines, describe="reward", x_label="step"))
    assert root.get("aria-label") == "reward"
    named = [line for line in lines if any(y is not None for y in line.ys)]
    assert sum(element.get("class", "").startswith("label") for element in root) == len(named)


def test_no_lines_still_make_a_chart() -> None:
    svg(charts.line_chart([], describe="nothing", x_label="step"))


def test_texts_in_a_chart_are_escaped() -> None:
    drawing = charts.line_chart([Line([1, 2], [1, 2], "k0", "<b>&", "<i>")], describe='"<', x_label="<x>")
    assert "<b>" not in drawing
    assert svg(drawing).get("aria-label") == '"<'


def test_a_gap_interrupts_the_line() -> None:
    drawing = charts.sparkline([0.0, 0.5, None, 1.0, 1.0], "k0")
    path = next(element for element in svg(drawing) if element.get("class") == "line k0")
    assert path.get("d", "").count("M") == 2


def test_a_single_point_is_a_dot() -> None:
    path = next(element for element in svg(charts.sparkline([0.5], "k0")) if element.get("class") == "line k0")
    assert path.get("d", "").endswith("h0")


@given(st.lists(st.floats(-50, 400), max_size=30))
def test_spread_labels_do_not_overlap(wanted: list[float]) -> None:
    places = charts.spread(wanted, 12, 220)
    ordered = sorted(places)
    gap = min(charts.LINE_HEIGHT, 208 / max(len(wanted) - 1, 1))
    assert all(after - before >= gap - 0.2 for before, after in itertools.pairwise(ordered))
    assert all(11.9 <= place <= 220 for place in places)
    ranks = sorted(range(len(wanted)), key=lambda index: wanted[index])
    assert all(places[a] <= places[b] for a, b in itertools.pairwise(ranks))


@pytest.mark.parametrize(
    ("low", "high", "about", "whole", "expected"),
    [
        (0, 1, 4, False, [0, 0.5, 1]),
        (0, 96, 5, True, [0, 20, 40, 60, 80]),
        (1, 3, 5, True, [1, 2, 3]),
        (-0.5, 0.5, 5, False, [-0.4, -0.2, 0, 0.2, 0.4]),
        (2, 2, 5, False, [2]),
        (0, inf, 5, False, [0]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, about: int, whole: bool, expected: list[float]) -> None:
    assert charts.ticks(low, high, about, whole) == pytest.approx(expected)


def test_long_lines_are_thinned_to_means() -> None:
    line = charts.thinned(Line(range(1000), [float(x) for x in range(1000)], "k0"))
    assert len(line.xs) <= charts.MOST_POINTS
    assert line.xs == line.ys
    assert line.xs[0] == 3.0  # of 0 … 6


def test_histogram_says_what_each_bar_holds() -> None:
    histogram = Histogram(edges=[-1, 0, 0.6, 1.2], kept=[0, 0, 5], left=[7, 2, 1], below=3)
    root = svg(charts.histogram_chart(histogram, 0.6, describe="scores"))
    titles = [title.text for title in root.iter("title")]
    assert titles == [
        "−1.00 to 0.00 and 3 below: 0 selected, 7 not",
        "0.00 to 0.60: 0 selected, 2 not",
        "0.60 to 1.20: 5 selected, 1 not",
    ]
    assert "threshold 0.60" in {element.text for element in root.iter("text")}


@given(st.tuples(finite, finite, finite).map(sorted))
def test_intervals_stay_in_the_frame(values: list[float]) -> None:
    low, mean, high = (min(max(value, 0.0), 1.0) for value in values)
    interval = Interval(mean=mean, low=low, high=high)
    root = svg(charts.interval_chart([Estimate("arm", "k0", interval)], describe="accuracy"))
    circle = next(root.iter("circle"))
    assert 0 <= float(circle.attrib["cx"]) <= charts.WIDTH


def test_difference_bar_is_grey_until_it_leaves_zero() -> None:
    open_, decided = (Interval(mean=0.1, low=low, high=0.2) for low in (-0.01, 0.01))
    assert 'class="muted"' in charts.difference_bar(open_, 0.3)
    assert 'class="k0"' in charts.difference_bar(decided, 0.3)
