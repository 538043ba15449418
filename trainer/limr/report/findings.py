"""What was found, in sentences: the headline, the comparisons, and what the selection cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil

from limr.report.comparison import BASE
from limr.report.formats import count, percent, points
from limr.report.schema import AVERAGE, Difference, Row, Verdict
from limr.stage import Interval

ONE_SEED = (
    "Intervals of arms with one seed speak of the one model that was trained: they do not cover what another training "
    "seed would give. Give an arm several seeds to learn that."
)


def focus(table: Sequence[Row]) -> Row | None:
    """The arm the experiment is about: the first whose prompts were chosen by a score, else the first."""
    arms = [row for row in table if row.strategy is not None]
    return next((row for row in arms if row.uses_probe), arms[0] if arms else None)


def headline(table: Sequence[Row], differences: Sequence[Difference], dataset_prompts: int | None) -> str:
    """One sentence on the focus arm against every other arm, else against the base model."""
    arm = focus(table)
    if arm is None or not arm.benchmarks:
        return "No benchmark was evaluated, so nothing can be said about which arm is better."
    own = about(arm, differences)
    against = [found for found in own if found.second != BASE] or own
    if not against:
        return f"{arm.name} answers {percent(score(arm).mean)} % of the questions; there is nothing to compare it with."
    size = f", trained on {_share(arm, dataset_prompts)}," if arm.prompts is not None else ""
    return f"{arm.name}{size} {joined(_phrases(against))}."


def sentences(results_table: Sequence[Row], differences: Sequence[Difference], scores_from: str | None) -> list[str]:
    """The comparisons of the focus arm with their intervals, then the costs."""
    arm = focus(results_table)
    if arm is None:
        return []
    found = [_capital(f"{_where(difference)}{difference.words}.") for difference in about(arm, differences)]
    found += _costs(arm, results_table, scores_from)
    if any(row.benchmarks and not row.covers_seeds for row in results_table):
        found.append(ONE_SEED)
    return found


def about(arm: Row, differences: Sequence[Difference]) -> list[Difference]:
    """The arm's differences on all benchmarks together, or on the only one there is."""
    own = [found for found in differences if found.first == arm.name]
    averages = {found.second for found in own if found.benchmark == AVERAGE}
    return [found for found in own if found.benchmark == AVERAGE or found.second not in averages]


def _phrases(differences: Sequence[Difference]) -> Iterator[str]:
    for verdict, verb in ((Verdict.BETTER, "does better than"), (Verdict.WORSE, "does worse than")):
        found = [f"{one.second} by {by_points(one)}" for one in differences if one.verdict is verdict]
        if found:
            yield f"{verb} {joined(found)}"
    alike = [difference.second for difference in differences if difference.verdict is Verdict.OPEN]
    if alike:
        yield f"cannot be told apart from {' or '.join(alike)}"


def by_points(difference: Difference) -> str:
    """How large it is, without its sign."""
    caveat = "" if difference.covers_seeds else " (one seed each)"
    return f"{points(abs(difference.interval.mean))[1:]} points{caveat}"


def _costs(arm: Row, table: Sequence[Row], scores_from: str | None) -> Iterator[str]:
    if not arm.uses_probe or arm.rollouts is None:
        return
    if arm.rollouts_with_probe is None:
        if scores_from:
            yield f"The scores were taken from {scores_from}: what it cost to measure them is not counted here."
        return
    probe = arm.rollouts_with_probe - arm.rollouts
    yield (
        f"Choosing the prompts of {arm.name} took a probe of {count(probe)} rollouts before a training of "
        f"{count(arm.rollouts)}: {count(arm.rollouts_with_probe)} in all."
    )
    full = next((row for row in table if row.strategy == "full" and row.rollouts is not None), None)
    if full is None or full.rollouts is None:
        return
    saved = full.rollouts - arm.rollouts
    if saved > 0:
        yield (
            f"A training on the chosen prompts draws {count(saved)} rollouts fewer than {full.name}, so the probe pays "
            f"for itself from training number {ceil(probe / saved)} on."
        )
    else:
        drawn = count(full.rollouts)
        yield f"Less data was not less compute here: {full.name} drew {drawn} rollouts, without any probe."


def score(row: Row) -> Interval:
    """Over all benchmarks, or on the only one."""
    return row.average or next(iter(row.benchmarks.values()))


def _share(arm: Row, dataset_prompts: int | None) -> str:
    of_all = f" of {count(dataset_prompts)}" if dataset_prompts is not None else ""
    return f"{count(arm.prompts)}{of_all} prompts"


def _where(difference: Difference) -> str:
    return "over all benchmarks, " if difference.benchmark == AVERAGE else f"on {difference.benchmark}, "


def joined(phrases: Iterable[str]) -> str:
    """a, b and c."""
    *first, last = phrases
    return f"{', '.join(first)} and {last}" if first else last


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
