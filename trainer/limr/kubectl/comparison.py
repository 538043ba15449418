"""Two experiments side by side. Pure: from what was read of them to text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from limr.kubectl.experiments import Experiment
from limr.plan import Status
from limr.report.comparison import BASE, answers_of, between
from limr.report.schema import AVERAGE, Difference, Verdict
from limr.report.sources import Evaluation
from limr.stage import ArmResult, Interval

LABEL, CELL = 25, 24  # characters
LONGEST_VALUE = 22
# Fields that do not change what comes out.
NOT_COMPARED = frozenset({"schedule", "limits", "storage", "ttlSecondsAfterFinished"})


@dataclass(frozen=True)
class Side:
    """What was read of one of the two."""

    experiment: Experiment
    label: str  # for sentences: another one than the other side's
    subsets: Mapping[str, set[str]]  # ids of the prompts kept, by arm
    evaluation: Evaluation | None


def comparison(first: Side, second: Side, width: int) -> str:
    parts = [
        list(_facts(first, second)),
        list(_spec(first, second)),
        list(_prompts(first, second)),
        list(_accuracies(first, second)),
        list(_differences(first, second, width)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _facts(first: Side, second: Side) -> Iterator[str]:
    statuses = [side.experiment.status for side in (first, second)]
    yield _row("", "A: " + first.label, "B: " + second.label)
    yield _row("phase", *(str(status.phase) for status in statuses))
    yield _row("device-hours", *(f"{status.device_hours:.2f}" for status in statuses))


def _spec(first: Side, second: Side) -> Iterator[str]:
    specs = [dict(_leaves(side.experiment.manifest["spec"])) for side in (first, second)]
    paths = [path for path in dict.fromkeys([*specs[0], *specs[1]]) if specs[0].get(path) != specs[1].get(path)]
    told = [path for path in paths if path.partition(".")[0] not in NOT_COMPARED]
    if not told:
        yield "The specs differ in nothing that changes results."
        return
    yield "WHAT THE SPECS DIFFER IN"
    for path in told:
        yield _row(path, *(_short(spec.get(path, "–")) for spec in specs))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Fields with their paths; entries of a list by their name where they have one."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        for index, entry in enumerate(value):
            yield from _leaves(entry, f"{path}[{entry.get('name', index)}]")
    else:
        yield path, value


def _prompts(first: Side, second: Side) -> Iterator[str]:
    arms = [arm for arm in first.subsets if arm in second.subsets]
    if arms:
        yield _row("SELECTED PROMPTS", "A", "B", "in both")
    for arm in arms:
        ours, theirs = first.subsets[arm], second.subsets[arm]
        yield _row(arm, f"{len(ours):,}", f"{len(theirs):,}", f"{len(ours & theirs):,}")


def _accuracies(first: Side, second: Side) -> Iterator[str]:
    tables = [_cells(side.experiment.status) for side in (first, second)]
    lines = list(dict.fromkeys([*tables[0], *tables[1]]))
    if lines:
        yield _row("ACCURACY", "A", "B")
    for line in lines:
        yield _row(line, *(table.get(line, "–") for table in tables))


def _cells(status: Status) -> dict[str, str]:
    return {f"{row.name}, {name}": _percent(value) for row in status.results for name, value in _benchmarks(row)}


def _benchmarks(row: ArmResult) -> list[tuple[str, Interval]]:
    """All of them together where there are several."""
    together = row.benchmarks.get(AVERAGE)
    return [(AVERAGE, together)] if together else list(row.benchmarks.items())


def _differences(first: Side, second: Side, width: int) -> Iterator[str]:
    if first.evaluation is None or second.evaluation is None:
        missing = " and ".join(side.label for side in (first, second) if side.evaluation is None)
        yield f"No difference can be claimed: {missing} has no evaluation to compare answer by answer."
        return
    yield "DIFFERENCES, A minus B, paired by question, with 95 % intervals"
    ours, theirs, notes = _same_questions(first.evaluation, second.evaluation)
    found = [
        difference
        for name in _pairs(ours, theirs)
        for difference in _telling(between(f"A/{name[0]}", ours[name[0]], f"B/{name[1]}", theirs[name[1]]))
    ]
    for sentence in [*map(_sentence, found), *notes]:
        yield from wrap(sentence, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    if not found:
        yield "  none: no benchmark asked both of them the same questions"
    elif not all(difference.covers_seeds for difference in found):
        yield from wrap(
            "With one seed each, an interval speaks of the two models that were trained, not of what other seeds would "
            "give.",
            width,
            initial_indent="  ",
            subsequent_indent="  ",
        )


def _telling(differences: Sequence[Difference]) -> list[Difference]:
    """Of several benchmarks the one over all of them, and each that tells the two apart by itself."""
    if not any(found.benchmark == AVERAGE for found in differences):
        return list(differences)
    return [found for found in differences if found.benchmark == AVERAGE or found.verdict is not Verdict.OPEN]


def _same_questions(first: Evaluation, second: Evaluation) -> tuple[Any, Any, list[str]]:
    """Answers by row and benchmark, only to benchmarks that asked both the same; sentences about the others."""
    shared = [name for name in first.questions if name in second.questions]
    same = [name for name in shared if list(first.questions[name]) == list(second.questions[name])]
    notes = [f"{name}: not compared, A and B were asked different questions" for name in shared if name not in same]
    ours, theirs = (
        {row: {name: found[name] for name in same} for row, found in answers_of(evaluation).items()}
        for evaluation in (first, second)
    )
    return ours, theirs, notes


def _pairs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Rows of the same name; where no arm's name is in both, the first arm of each."""
    same = [(name, name) for name in ours if name in theirs]
    arms = [[name for name in side if name != BASE] for side in (ours, theirs)]
    if all(name == BASE for name, _ in same) and all(arms):
        same.append((arms[0][0], arms[1][0]))
    return same


def _sentence(difference: Difference) -> str:
    where = "over all benchmarks" if difference.benchmark == AVERAGE else f"on {difference.benchmark}"
    return f"{where}: {difference.words}"


def _percent(value: Interval) -> str:
    return f"{value.mean:.1%} [{value.low:.1%}, {value.high:.1%}]"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"…{text[1 - LONGEST_VALUE :]}"


def _row(label: str, *cells: str) -> str:
    """A label that is too long has a line of its own."""
    start = f"{label:<{LABEL}}" if len(label) < LABEL else f"{label}\n{'':<{LABEL}}"
    return (start + "".join(f"{cell:<{CELL}}" for cell in cells)).rstrip()
