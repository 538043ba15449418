"""Charts as inline SVG: no script, no fonts, no colours of their own.

Every chart is drawn at about the width of a phone and hardly scaled, so its text stays readable; the page
puts charts side by side where there is room. Colours come from the page's style sheet: an element of class `k3` has the
fourth colour of the palette, in light and in dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from markupsafe import Markup

from limr.report.formats import count, decimal, interval_percent, interval_points, percent, points, short
from limr.report.schema import Histogram
from limr.stage import Interval

WIDTH = 340
HEIGHT = 208
TOP, BOTTOM, LEFT = 12, 34, 38
LABEL_ROOM = 84  # right of the plot, for the names at the lines' ends
LINE_HEIGHT = 13
MOST_POINTS = 160


@dataclass(frozen=True)
class Line:
    xs: Sequence[float]
    ys: Sequence[float | None]  # None leaves a gap
    css: str  # "k0" … the colour, and "faint" for one of many
    label: str = ""  # written at the line's end
    tip: str = ""  # shown when the pointer rests on it


@dataclass(frozen=True)
class Estimate:
    """One row of an interval chart."""

    label: str
    css: str
    interval: Interval


def line_chart(
    lines: Sequence[Line],
    *,
    describe: str,
    x_label: str,
    y_range: tuple[float, float] | None = None,
    y_format: Callable[[float], str] = short,
    reference: tuple[float, str] | None = None,
    x_from: float | None = None,
    whole_x: bool = True,
) -> Markup:
    """Lines over one pair of axes, each named at its right end. `reference` is a level with a few words about it."""
    drawn = [thinned(line) for line in lines]
    xs = [x for line in drawn for x in line.xs]
    low, high = y_range or _padded([y for line in drawn for y in line.ys if y is not None])
    right = WIDTH - (LABEL_ROOM if any(line.label for line in drawn) else 12)
    x = _Scale(min(xs, default=0.0) if x_from is None else x_from, max(xs, default=1.0), LEFT, right)
    y = _Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [*_y_axis(y, right, y_format), *_x_axis(x, x_label, whole_x)]
    if reference:
        parts += _reference(*reference, y, right, drawn)
    parts += [_path(line, x, y) for line in drawn]
    parts += _end_labels(drawn, x, y, right)
    return _drawing(WIDTH, HEIGHT, describe, parts)


def _reference(level: float, words: str, y: _Scale, right: float, lines: Sequence[Line]) -> list[Markup]:
    """The words stand on the side that the lines leave free at the right end."""
    ends = [end[1] for line in lines if (end := _end(line)) is not None]
    below = sum(ends) >= level * len(ends)
    return [
        Markup('<line class="reference" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, right, y(level), y(level)),
        Markup('<text class="note" text-anchor="end" x="{}" y="{}">{}</text>').format(
            right - 2, y(level) + (13 if below else -5), words
        ),
    ]


def histogram_chart(histogram: Histogram, threshold: float | None, *, describe: str) -> Markup:
    """Scores of all prompts; selected ones in colour, the threshold as a line."""
    edges = histogram.edges
    x = _Scale(edges[0], edges[-1], LEFT, WIDTH - 12)
    totals = [kept + left for kept, left in zip(histogram.kept, histogram.left, strict=True)]
    y = _Scale(0, max([*totals, 1]) * 1.08, HEIGHT - BOTTOM, TOP + 14)
    parts = [*_y_axis(y, WIDTH - 12, short), *_x_axis(x, "score", False)]
    for index, (kept, left) in enumerate(zip(histogram.kept, histogram.left, strict=True)):
        start, end = x(edges[index]), x(edges[index + 1])
        below = f" and {histogram.below:,} below" if index == 0 and histogram.below else ""
        tip = f"{decimal(edges[index])} to {decimal(edges[index + 1])}{below}: {kept:,} selected, {left:,} not"
        bars = [
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                css, start + 0.5, y(base + size), max(end - start - 1, 0.5), y(base) - y(base + size)
            )
            for css, base, size in (("bar left", 0, left), ("bar kept", left, kept))
            if size
        ]
        parts.append(Markup("<g><title>{}</title>{}</g>").format(tip, Markup("").join(bars)))
    if histogram.below:
        words = f"{count(histogram.below)} lower still"
        parts.append(Markup('<text class="note" x="{}" y="{}">{}</text>').format(LEFT + 2, TOP + 6, f"↙ {words}"))
    if threshold is not None:
        parts += _threshold(x(min(max(threshold, edges[0]), edges[-1])), threshold)
    return _drawing(WIDTH, HEIGHT, describe, parts)


def _threshold(at: float, threshold: float) -> list[Markup]:
    anchor = "end" if at > WIDTH / 2 else "start"
    return [
        Markup('<line class="threshold" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(at, TOP, HEIGHT - BOTTOM),
        Markup('<text class="strong" text-anchor="{}" x="{}" y="{}">threshold {}</text>').format(
            anchor, at + (-5 if anchor == "end" else 5), TOP + 6, decimal(threshold)
        ),
    ]


def interval_chart(estimates: Sequence[Estimate], *, describe: str) -> Markup:
    """Accuracies with their intervals, one row each; the axis covers what is there, not all from 0 to 100."""
    row, left, right = 26, 90, WIDTH - 46
    height = TOP + row * len(estimates) + BOTTOM
    ends = [end for estimate in estimates for end in (estimate.interval.low, estimate.interval.high)]
    low, high = _padded(ends)
    x = _Scale(max(low, 0.0), min(high, 1.0), left, right)
    parts = []
    for tick in ticks(x.low, x.high, 5):
        parts.append(
            Markup('<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(x(tick), TOP, height - BOTTOM)
        )
        parts.append(_tick_text(x(tick), height - BOTTOM + 15, percent(tick, 0), "middle"))
    parts.append(_axis_title((left + right) / 2, height - 4, "pass@1, %"))
    for index, estimate in enumerate(estimates):
        parts.append(_estimate(estimate, x, TOP + row * (index + 0.5), left, right))
    return _drawing(WIDTH, height, describe, parts)


def _estimate(estimate: Estimate, x: _Scale, middle: float, left: float, right: float) -> Markup:
    interval = estimate.interval
    tip = f"{estimate.label}: {percent(interval.mean)} ({interval_percent(interval)})"
    return Markup(
        '<g class="{css}"><title>{tip}</title>'
        '<text class="name" text-anchor="end" x="{name_x}" y="{text_y}">{label}</text>'
        '<line class="interval" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        '<circle class="dot" cx="{mean}" cy="{y}" r="4.5"/>'
        '<text class="value" x="{value_x}" y="{text_y}">{value}</text></g>'
    ).format(
        css=estimate.css,
        tip=tip,
        label=estimate.label,
        name_x=left - 10,
        value_x=right + 10,
        text_y=middle + 4,
        low=x(interval.low),
        high=x(interval.high),
        mean=x(interval.mean),
        y=middle,
        value=percent(interval.mean),
    )


def difference_bar(interval: Interval, reach: float) -> Markup:
    """One difference on an axis from −reach to +reach, with zero marked; for a table's cell."""
    width, height = 150, 24
    x = _Scale(-reach, reach, 4, width - 4)
    decided = interval.low > 0 or interval.high < 0
    parts = [
        Markup('<line class="axis" x1="{0}" x2="{0}" y1="1" y2="{1}"/>').format(x(0), height - 1),
        Markup('<g class="{}"><line class="interval" x1="{}" x2="{}" y1="12" y2="12"/>').format(
            "k0" if decided else "muted", x(interval.low), x(interval.high)
        ),
        Markup('<circle class="dot" cx="{}" cy="12" r="4.5"/></g>').format(x(interval.mean)),
    ]
    return _cell(width, height, f"{points(interval.mean)} points, {interval_points(interval)}", parts)


def sparkline(values: Sequence[float | None], css: str) -> Markup:
    """A prompt's accuracy from 0 to 1 over the epochs."""
    width, height = 120, 30
    line = Line(range(len(values)), values, css)
    x, y = _Scale(0, max(len(values) - 1, 1), 4, width - 4), _Scale(0, 1, height - 4, 4)
    known = [value for value in values if value is not None]
    described = f"accuracy by epoch: {', '.join(percent(value, 0) for value in known)} %"
    frame = Markup('<path class="axis" d="M4 {0}H{1}M4 4H{1}"/>').format(height - 4, width - 4)
    return _cell(width, height, described, [frame, _path(line, x, y)])


# Scales, axes and paths.


@dataclass(frozen=True)
class _Scale:
    """Maps low … high to start … end, in pixels rounded to a tenth."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, about: int, whole: bool = False) -> list[float]:
    """Multiples of 1, 2 or 5 × 10^n within [low, high], near `about` of them."""
    span = high - low
    if span <= 0 or not isfinite(span):
        return [low]
    rough = span / about
    power = 10.0 ** floor(log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * 0.999)
    if whole:
        step = max(step, 1.0)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def thinned(line: Line) -> Line:
    """At most MOST_POINTS points, each the mean of its neighbours: no more than the screen can show."""
    size = ceil(len(line.xs) / MOST_POINTS)
    if size <= 1:
        return line
    groups = [slice(start, start + size) for start in range(0, len(line.xs), size)]
    xs = [_mean(line.xs[group]) or 0.0 for group in groups]
    return Line(xs, [_mean(line.ys[group]) for group in groups], line.css, line.label, line.tip)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _padded(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _y_axis(y: _Scale, right: float, written: Callable[[float], str]) -> list[Markup]:
    parts = []
    for tick in ticks(y.low, y.high, 4):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, right, y(tick), y(tick))
        )
        parts.append(_tick_text(LEFT - 6, y(tick) + 4, written(tick), "end"))
    return parts


def _x_axis(x: _Scale, title: str, whole: bool) -> list[Markup]:
    bottom = HEIGHT - BOTTOM
    parts = [Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(x.start, x.end, bottom, bottom)]
    parts += [_tick_text(x(tick), bottom + 15, short(tick), "middle") for tick in ticks(x.low, x.high, 5, whole)]
    parts.append(_axis_title((x.start + x.end) / 2, HEIGHT - 4, title))
    return parts


def _tick_text(at_x: float, at_y: float, text: str, anchor: str) -> Markup:
    return Markup('<text class="tick" text-anchor="{}" x="{}" y="{}">{}</text>').format(anchor, at_x, at_y, text)


def _axis_title(at_x: float, at_y: float, text: str) -> Markup:
    return Markup('<text class="axis-title" text-anchor="middle" x="{}" y="{}">{}</text>').format(at_x, at_y, text)


def _path(line: Line, x: _Scale, y: _Scale) -> Markup:
    """`h0` draws a dot where a point has no neighbour to be joined to."""
    drawing, pen_down = [], False
    for at, value in zip(line.xs, line.ys, strict=True):
        if value is None:
            pen_down = False
            continue
        drawing.append(f"{'L' if pen_down else 'M'}{x(at):g} {y(value):g}{'' if pen_down else 'h0'}")
        pen_down = True
    title = Markup("<title>{}</title>").format(line.tip) if line.tip else ""
    return Markup('<path class="line {}" d="{}">{}</path>').format(line.css, "".join(drawing), title)


def _end_labels(lines: Sequence[Line], x: _Scale, y: _Scale, right: float) -> list[Markup]:
    ends = [(line, *end) for line in lines if line.label and (end := _end(line)) is not None]
    wanted = [y(value) for _, _, value in ends]
    parts = []
    for (line, at, value), place in zip(ends, spread(wanted, TOP, HEIGHT - BOTTOM), strict=True):
        if right - x(at) > 12 or abs(place - y(value)) > LINE_HEIGHT / 2:
            parts.append(
                Markup('<path class="leader {}" d="M{} {}L{} {}"/>').format(line.css, x(at), y(value), right + 3, place)
            )
        parts.append(
            Markup('<text class="label {}" x="{}" y="{}">{}</text>').format(line.css, right + 6, place + 4, line.label)
        )
    return parts


def _end(line: Line) -> tuple[float, float] | None:
    known = [(at, value) for at, value in zip(line.xs, line.ys, strict=True) if value is not None]
    return known[-1] if known else None


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Places within [low, high] near the wanted ones, in the same order, a line apart as far as there is room."""
    gap = min(LINE_HEIGHT, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = [0.0] * len(wanted)
    free = low
    for index in order:
        places[index] = max(wanted[index], free)
        free = places[index] + gap
    ceiling = high
    for index in reversed(order):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return [round(place, 1) for place in places]


def _drawing(width: float, height: float, describe: str, parts: Sequence[Markup]) -> Markup:
    """Grows and shrinks with the page."""
    return _svg(Markup('class="chart" viewBox="0 0 {} {}"').format(width, height), describe, parts)


def _cell(width: float, height: float, describe: str, parts: Sequence[Markup]) -> Markup:
    """Keeps its size, for a table's cell."""
    return _svg(Markup('class="cell" width="{}" height="{}"').format(width, height), describe, parts)


def _svg(attributes: Markup, describe: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg {} role="img" aria-label="{}">{}</svg>').format(attributes, describe, Markup("").join(parts))
