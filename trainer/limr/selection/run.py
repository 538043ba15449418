"""One selection from end to end: scores, the kept prompts, a summary, and warnings when it should not be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limr.dataset import Dataset
from limr.errors import LimrError
from limr.selection import pick, registry, trust
from limr.selection.accuracy import AccuracyMatrix, Floats
from limr.selection.pick import Rule
from limr.selection.scores_file import GivenScores
from limr.selection.sources import Trajectories
from limr.selection.strategy import Request, Scores, Strategy, complete_parameters
from limr.selection.trust import Mask, Trust
from limr.spec import Reading, SubsetSize
from limr.spec import Strategy as Choice

Source = Trajectories | GivenScores

ONLY_SCORES = (
    "the scores come without trajectories: whether never solved prompts were selected, how good the training was and "
    "whether the subset was stable cannot be said"
)


@dataclass(frozen=True)
class Selection:
    """Every prompt that has a score and is in the dataset (if one was given), in ascending order of their ids."""

    prompt_ids: list[str]  # [n]
    scores: Floats  # [n]
    selected: Mask  # [n]
    accuracy: Floats | None  # [n, K], NaN in a gap; None without trajectories
    texts: Mapping[str, str]  # prompt_id -> prompt, as far as known
    dataset: Dataset | None
    summary: Mapping[str, Any]  # docs/selection.md says what is in it


@dataclass(frozen=True)
class _Pool:
    """The N prompts that are scored."""

    prompt_ids: list[str]
    inside: Mask  # [N] in the dataset; all, without one
    matrix: AccuracyMatrix | None  # its rows are prompt_ids
    given: Floats | None  # [N] scores that one already has


def select(
    source: Source | None,
    choice: Choice,
    *,
    size: SubsetSize | None = None,
    seed: int = 1,
    dataset: Dataset | None = None,
) -> Selection:
    """Scores the prompts of `source` (for a strategy that measures nothing: of `dataset`) and keeps the chosen ones.

    With a dataset only its prompts can be kept. `size.same_as` must have been resolved to a count. Raises LimrError for
    an unknown strategy or parameter, without the source that a strategy needs, and when nothing can be selected.
    """
    strategy = registry.find(choice.strategy)
    pool = _pool(strategy, source, dataset)
    rule = _rule(strategy, choice, size, pool, dataset)
    parameters = complete_parameters(strategy, choice.parameters)

    def score(matrix: AccuracyMatrix | None) -> Scores:
        if pool.given is not None:
            strict = strategy.name == "lim" and choice.reading is Reading.PAPER
            scores = Scores(pool.given, np.ones(len(pool.given), np.bool_), strict)
        else:
            scores = strategy.score(Request(pool.prompt_ids, matrix, parameters, choice.reading, seed))
        values = pick.rounded(scores.values, rule.round_digits)
        return replace(scores, values=values, eligible=scores.eligible & pool.inside)

    scores = score(pool.matrix)
    scored = np.asarray(pool.inside & ~np.isnan(scores.values))
    counts = _counts(pool, scored, dataset)
    _check_scored(counts, strategy)
    kept = pick.pick(scores, rule)
    pick.check(scores, kept, rule, strategy.name)

    judged = _judged(source, pool, scores, kept, lambda matrix: pick.pick(score(matrix), rule))
    summary = {
        **_described(strategy, choice, rule, parameters, seed),
        **counts,
        "selected": int(kept.sum()),
        "score_min": float(scores.values[scored].min()),
        "score_max": float(scores.values[scored].max()),
        **_trusted(judged),
        "warnings": _warnings(strategy, source, dataset, judged, rule),
    }
    return Selection(
        prompt_ids=[name for name, keep in zip(pool.prompt_ids, scored.tolist(), strict=True) if keep],
        scores=scores.values[scored],
        selected=kept[scored],
        accuracy=_accuracy(source, pool, scored),
        texts=_texts(source, dataset),
        dataset=dataset,
        summary=summary,
    )


def _pool(strategy: Strategy, source: Source | None, dataset: Dataset | None) -> _Pool:
    matrix = source.matrix if isinstance(source, Trajectories) else None
    given = source.values if isinstance(source, GivenScores) and strategy.needs_trajectories else None
    if strategy.needs_trajectories and source is None:
        raise LimrError(f"{strategy.name} needs trajectories or scores; give one of them")
    if dataset is not None and not strategy.needs_trajectories:
        prompt_ids = sorted(prompt.prompt_id for prompt in dataset.prompts)
    elif source is not None:
        prompt_ids = source.matrix.prompt_ids if isinstance(source, Trajectories) else source.prompt_ids
    else:
        raise LimrError(f"{strategy.name} needs prompts to choose from; give a dataset")
    wanted = {prompt.prompt_id for prompt in dataset.prompts} if dataset else set(prompt_ids)
    inside = np.fromiter((name in wanted for name in prompt_ids), np.bool_, len(prompt_ids))
    return _Pool(prompt_ids, inside, matrix if strategy.needs_trajectories else None, given)


def _rule(strategy: Strategy, choice: Choice, size: SubsetSize | None, pool: _Pool, dataset: Dataset | None) -> Rule:
    """A size alone takes the best; a threshold that is given counts beside it, the strategy's own one does not."""
    if size is not None:
        assert size.same_as is None
        base = len(dataset.prompts) if dataset else len(pool.prompt_ids)
        count = size.count or max(1, round((size.fraction or 0) * base))
        return Rule(choice.threshold, count, choice.round_digits)
    threshold = choice.threshold if choice.threshold is not None else strategy.default_threshold
    if threshold is None and (strategy.ranks_only or pool.given is not None):
        raise LimrError(f"{strategy.name} has no threshold of its own; give a threshold or the number of prompts")
    return Rule(threshold, None, choice.round_digits)


def _counts(pool: _Pool, scored: Mask, dataset: Dataset | None) -> dict[str, Any]:
    """prompts = scored + dropped, over the prompts of the source and of the dataset together."""
    dropped = {
        "not_in_dataset": int((~pool.inside).sum()),
        "no_score": int((pool.inside & ~scored).sum()),
        "not_in_source": (len(dataset.prompts) if dataset else int(pool.inside.sum())) - int(pool.inside.sum()),
    }
    total = sum(dropped.values())
    return {
        "prompts": int(scored.sum()) + total,
        "scored": int(scored.sum()),
        "dropped": total,
        "dropped_because": dropped,
    }


def _check_scored(counts: Mapping[str, Any], strategy: Strategy) -> None:
    if counts["scored"]:
        return
    because, reasons = counts["dropped_because"], []
    if because["not_in_dataset"]:
        reasons.append(f"{because['not_in_dataset']} are not in the dataset; give the one that was trained on")
    if because["no_score"]:
        reasons.append(
            f"{because['no_score']} were seen in too few epochs; take fewer epochs, or the reading 'corrected'"
        )
    raise LimrError(f"{strategy.name} scores no prompt: {', and '.join(reasons)}")


def _judged(
    source: Source | None, pool: _Pool, scores: Scores, kept: Mask, choose: Callable[[AccuracyMatrix], Mask]
) -> Trust | None:
    """None without trajectories. `choose` selects from another matrix of the same prompts in the same way."""
    if not isinstance(source, Trajectories):
        return None
    stability = trust.stability(pool.matrix, kept, choose) if pool.matrix is not None else []
    scored = int((pool.inside & ~np.isnan(scores.values)).sum())
    return trust.judge(source.matrix, _rows(source.matrix, pool, kept), scored, scores.never_solved, stability)


def _rows(matrix: AccuracyMatrix, pool: _Pool, which: Mask) -> NDArray[np.intp]:
    """The matrix' rows of some prompts of the pool; prompts that the matrix does not have are left out."""
    if pool.matrix is not None:
        return np.flatnonzero(which)
    row = {name: index for index, name in enumerate(matrix.prompt_ids)}
    names = (pool.prompt_ids[index] for index in np.flatnonzero(which))
    return np.array([row[name] for name in names if name in row], np.intp)


def _accuracy(source: Source | None, pool: _Pool, scored: Mask) -> Floats | None:
    """[n, K] of the scored prompts."""
    if not isinstance(source, Trajectories):
        return None
    if pool.matrix is not None:
        return source.matrix.accuracy[scored]
    row = {name: index for index, name in enumerate(source.matrix.prompt_ids)}
    accuracy = np.full((int(scored.sum()), source.matrix.epochs), np.nan)
    for position, index in enumerate(np.flatnonzero(scored)):
        if (at := row.get(pool.prompt_ids[index])) is not None:
            accuracy[position] = source.matrix.accuracy[at]
    return accuracy


def _texts(source: Source | None, dataset: Dataset | None) -> Mapping[str, str]:
    known = source.texts if source else {}
    return {**known, **{prompt.prompt_id: prompt.text for prompt in dataset.prompts}} if dataset else known


def _described(
    strategy: Strategy, choice: Choice, rule: Rule, parameters: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    return {
        "strategy": strategy.name,
        "reading": choice.reading.value if strategy.name == "lim" else None,
        "parameters": parameters,
        "threshold": rule.threshold,
        "size": rule.count,
        "round_digits": rule.round_digits,
        "seed": seed if strategy.seeded else None,
    }


def _trusted(judged: Trust | None) -> dict[str, Any]:
    if judged is None:
        return {}
    return {
        "epochs": len(judged.average),
        "average_accuracy": judged.average,
        "never_solved_selected": judged.never_solved,
        "always_solved_selected": judged.always_solved,
        "never_solved_score": judged.never_solved_score,
        "stability": [{"epochs": epochs, "jaccard": index} for epochs, index in judged.stability],
    }


def _warnings(
    strategy: Strategy, source: Source | None, dataset: Dataset | None, judged: Trust | None, rule: Rule
) -> list[str]:
    """About the selection itself only where something was measured: a control is not to be trusted or mistrusted."""
    about = []
    if strategy.needs_trajectories:
        about = trust.warnings(judged, rule.threshold) if judged else [ONLY_SCORES]
    return [*about, *(source.warnings if source else ()), *(dataset.warnings if dataset else ())]
