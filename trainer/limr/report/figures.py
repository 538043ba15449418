"""Chooses what the page's charts show, and says in a sentence how to read each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from limr.report import charts
from limr.report.charts import Estimate, Line
from limr.report.comparison import BASE
from limr.report.formats import count, percent, short
from limr.report.schema import AVERAGE, Difference, Group, ProbeFacts, Results, Row, SelectionFacts
from limr.stage import StageKind

COLOURS = 6  # of the palette in page.css
MUTED = "muted"
GROUP_COLOURS = {Group.LEARNED: "k0", Group.ALWAYS: "k2", Group.OTHER: "k4", Group.NEVER: "k1"}
EVALUATED = "eval_"  # prefix of the metrics that a benchmark gave during training


@dataclass(frozen=True)
class Figure:
    title: str
    caption: str
    drawing: Markup


@dataclass(frozen=True)
class Track:
    """One training as the charts show it."""

    label: str
    css: str
    series: Mapping[str, Sequence[float | None]]
    rollouts_before: int  # of the probe that its prompts were chosen from


def colours(table: Sequence[Row]) -> dict[str, str]:
    """The colour class of each row: the base model is grey, the arms follow the palette."""
    arms = [row.name for row in table if row.name != BASE]
    return {BASE: MUTED} | {name: f"k{index % COLOURS}" for index, name in enumerate(arms)}


def accuracy_figures(results: Results) -> list[Figure]:
    """All rows of the results table on one axis, a chart per benchmark; the average first."""
    css = colours(results.table)
    found = []
    scored = [row for row in results.table if row.benchmarks]
    averages = [Estimate(row.name, css[row.name], row.average) for row in scored if row.average]
    if averages:
        found.append(_accuracy_figure("Average of the benchmarks", "Each benchmark weighs the same.", averages))
    for facts in results.benchmarks:
        estimates = [
            Estimate(row.name, css[row.name], row.benchmarks[facts.name])
            for row in scored
            if facts.name in row.benchmarks
        ]
        how = "greedy" if facts.temperature == 0 else f"temperature {facts.temperature:g}"
        samples = "1 response each" if facts.samples == 1 else f"{facts.samples} responses each"
        found.append(_accuracy_figure(facts.name, f"{count(facts.questions)} questions, {samples}, {how}.", estimates))
    return found


def _accuracy_figure(title: str, caption: str, estimates: Sequence[Estimate]) -> Figure:
    described = ", ".join(f"{e.label} {percent(e.interval.mean)} %" for e in estimates)
    return Figure(title, caption, charts.interval_chart(estimates, describe=f"pass@1 with 95 % intervals: {described}"))


@dataclass(frozen=True)
class Comparison:
    """Two rows of the results table against each other."""

    main: Difference  # on all benchmarks together, or on the only one
    bar: Markup
    each: list[Difference | None]  # by benchmark, where there are several


def comparisons(results: Results) -> list[Comparison]:
    """One per pair, with bars on one scale."""
    pairs: dict[tuple[str, str], dict[str, Difference]] = {}
    for found in results.differences:
        pairs.setdefault((found.first, found.second), {})[found.benchmark] = found
    mains = [pair.get(AVERAGE) or next(iter(pair.values())) for pair in pairs.values()]
    reach = max((abs(end) for main in mains for end in (main.interval.low, main.interval.high)), default=1.0) * 1.02
    names = [facts.name for facts in results.benchmarks] if len(results.benchmarks) > 1 else []
    return [
        Comparison(main, charts.difference_bar(main.interval, reach), [pair.get(name) for name in names])
        for main, pair in zip(mains, pairs.values(), strict=True)
    ]


def probe_figures(probe: ProbeFacts, selections: Sequence[SelectionFacts]) -> list[Figure]:
    uses_lim = any(selection.strategy == "lim" for selection in selections)
    return [_average_figure(probe, uses_lim), _prompts_figure(probe)]


def _average_figure(probe: ProbeFacts, uses_lim: bool) -> Figure:
    known = [value for value in probe.average if value is not None]
    drawing = charts.line_chart(
        [Line(_epochs(probe.epochs), probe.average, "k0", f"{percent(known[-1], 0)} %" if known else "")],
        describe=f"average accuracy from {percent(known[0])} % to {percent(known[-1])} %" if known else "no data",
        x_label="epoch",
        y_range=(0, 1),
        y_format=_percent_tick,
        reference=(0.5, "below one half LIM misleads") if uses_lim else None,
    )
    return Figure("Average accuracy", f"Mean over {count(probe.prompts)} scored prompts.", drawing)


def _prompts_figure(probe: ProbeFacts) -> Figure:
    lines = [Line(_epochs(probe.epochs), c.accuracy, f"faint {GROUP_COLOURS[c.group]}") for c in probe.curves]
    for group, css in GROUP_COLOURS.items():
        members = [curve.accuracy for curve in probe.curves if curve.group is group]
        if members:
            label = f"{count(probe.groups[group])} {_SHORT[group]}"
            lines.append(Line(_epochs(probe.epochs), _mean_curve(members), css, label, f"mean of the prompts {group}"))
    described = ", ".join(f"{count(number)} {group}" for group, number in probe.groups.items())
    drawing = charts.line_chart(
        lines, describe=f"prompts: {described}", x_label="epoch", y_range=(0, 1), y_format=_percent_tick
    )
    shown = "Every" if len(probe.curves) == probe.prompts else f"{len(probe.curves)} random ones of the"
    return Figure("Each prompt", f"{shown} prompts' accuracy (faint) and the mean of each group.", drawing)


_SHORT = {Group.NEVER: "never", Group.ALWAYS: "always", Group.LEARNED: "learned", Group.OTHER: "between"}


def histogram_figures(results: Results) -> list[Figure]:
    """Selections that scored alike and kept alike are shown once."""
    figures: dict[str, Figure] = {}
    for selection in results.selections:
        if selection.histogram is not None:
            key = selection.histogram.model_dump_json()
            figures.setdefault(key, _histogram_figure(selection))
    return list(figures.values())


def _histogram_figure(selection: SelectionFacts) -> Figure:
    assert selection.histogram is not None
    kept, left = sum(selection.histogram.kept), sum(selection.histogram.left)
    caption = f"{count(kept)} prompts selected (filled), {count(left)} not."
    drawing = charts.histogram_chart(
        selection.histogram, selection.threshold, describe=f"histogram of scores: {caption}"
    )
    return Figure(f"Scores by {selection.strategy}", caption, drawing)


def training_figures(results: Results) -> list[list[Figure]]:
    """A row of charts per metric: against steps, against rollouts, and with the probe's rollouts counted in."""
    tracks = _tracks(results)
    names = dict.fromkeys(name for track in tracks for name in track.series if name.startswith(EVALUATED))
    metrics = [
        Metric("reward_mean", "Reward", "Mean reward of a step's responses.", short),
        Metric("accuracy", "Training accuracy", "Share of a step's responses that are correct.", _percent_tick),
        *(
            Metric(name, f"{name.removeprefix(EVALUATED)} during training", "Accuracy on the benchmark.", _percent_tick)
            for name in names
        ),
    ]
    return [row for metric in metrics if (row := _metric_row(metric, tracks))]


def health_figures(results: Results) -> list[Figure]:
    """What tells a sound training from a broken one, by step."""
    metrics = [
        Metric("kl", "KL to the start", "Distance from the model that training started from.", short),
        Metric("entropy", "Entropy", "Nats per token; falling to 0 means that exploration ended.", short),
        Metric("response_tokens_mean", "Response length", "Mean tokens per response.", short),
        Metric("truncated_share", "Cut responses", "Share of responses that hit the length limit.", _percent_tick),
        Metric("clip_fraction", "Clipped ratios", "Share of tokens whose update was clipped.", _percent_tick),
        Metric(
            "logprob_difference_max",
            "Engine against learner",
            "Largest difference of a token's log-probability between the two.",
            short,
        ),
    ]
    tracks = _tracks(results)
    return [row[0] for metric in metrics if (row := _metric_row(metric, tracks))]


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    caption: str
    written: Callable[[float], str]


def _metric_row(metric: Metric, tracks: Sequence[Track]) -> list[Figure]:
    shown = [track for track in tracks if any(value is not None for value in track.series.get(metric.name, ()))]
    if not shown:
        return []
    row = [Figure(f"{metric.title} by step", metric.caption, _track_chart(metric, shown, "step", False))]
    if all("rollouts" in track.series for track in shown):
        words = "One rollout is one sampled response."
        row.append(Figure(f"{metric.title} by rollouts", words, _track_chart(metric, shown, "rollouts", False)))
        if any(track.rollouts_before for track in shown):
            words = "Arms that the probe chose for start after it."
            row.append(Figure(f"{metric.title}, probe included", words, _track_chart(metric, shown, "rollouts", True)))
    return row


def _track_chart(metric: Metric, tracks: Sequence[Track], x: str, after_probe: bool) -> Markup:
    """Each seed faint and their mean full; a single seed full."""
    lines = []
    for label, group in _by_label(tracks).items():
        seeds = [_points(track, metric.name, x, after_probe) for track in group]
        if len(seeds) > 1:
            lines += [Line(xs, ys, f"seed {group[0].css}") for xs, ys in seeds]
        xs, ys = _mean_points(seeds)
        lines.append(
            Line(xs, ys, group[0].css, label, f"{label}, mean of {len(seeds)} seeds" if len(seeds) > 1 else label)
        )
    described = f"{metric.title} by {x}: " + ", ".join(
        f"{line.label} ends at {metric.written(line.ys[-1])}"
        for line in lines
        if line.label and line.ys[-1] is not None
    )
    return charts.line_chart(lines, describe=described, x_label=x, y_format=metric.written, x_from=0)


def _tracks(results: Results) -> list[Track]:
    """The trainings in the order of the arms. The probe is one more, under the name of the arm that reuses it."""
    css = colours(results.table)
    rows = {row.name: row for row in results.table}
    probe = next((stage for stage in results.stages if stage.kind is StageKind.PROBE), None)
    before = probe.ledger.rollouts if probe and probe.ledger else 0
    tracks = [
        Track(stage.arm, css[stage.arm], stage.series, before if rows[stage.arm].uses_probe else 0)
        for stage in results.stages
        if stage.kind is StageKind.TRAINING and stage.arm in rows
    ]
    if probe:
        trained = {track.label for track in tracks}
        reused = next(
            (row.name for row in results.table if row.strategy == "full" and row.name not in trained), "probe"
        )
        tracks.insert(0, Track(reused, css.get(reused, MUTED), probe.series, 0))
    return tracks


def _by_label(tracks: Sequence[Track]) -> dict[str, list[Track]]:
    groups: dict[str, list[Track]] = {}
    for track in tracks:
        groups.setdefault(track.label, []).append(track)
    return groups


def _points(track: Track, name: str, x: str, after_probe: bool) -> tuple[list[float], list[float]]:
    """Where the metric is known; a benchmark is not asked at every step."""
    offset = track.rollouts_before if after_probe else 0
    pairs = zip(track.series[x], track.series[name], strict=True)
    known = [(at + offset, value) for at, value in pairs if at is not None and value is not None]
    return [at for at, _ in known], [value for _, value in known]


def _mean_points(seeds: Sequence[tuple[list[float], list[float]]]) -> tuple[list[float], list[float]]:
    """As far as all seeds go, which have the same steps."""
    length = min(len(xs) for xs, _ in seeds)
    ys = [sum(values) / len(seeds) for values in zip(*(ys[:length] for _, ys in seeds), strict=True)]
    return seeds[0][0][:length], ys


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    columns = [[value for value in column if value is not None] for column in zip(*curves, strict=True)]
    return [sum(column) / len(column) if column else None for column in columns]


def _epochs(epochs: int) -> range:
    return range(1, epochs + 1)


def _percent_tick(share: float) -> str:
    return f"{100 * share:.3g} %"
