"""Reads a training's samples, from any of the forms that `limr select` knows, into one accuracy matrix.

Every row counts as one sample: files of other tools have no sample numbers, so two equal rows there are two samples.
Our own stages' manifest names each sample once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from limr.errors import LimrError
from limr.selection import json_rows, parquet_rows
from limr.selection.accumulate import Accumulator, Batch
from limr.selection.accuracy import AccuracyMatrix
from limr.selection.files import Files, Kind, find
from limr.selection.numbering import Numbering, numbering
from limr.selection.texts import Texts

MOST_MISSING_SHOWN = 5


@dataclass(frozen=True)
class Rules:
    """How a source's rows are understood, the same in all its files."""

    numbering: Numbering
    solved_reward: float
    keep_texts: bool


@dataclass(frozen=True)
class Trajectories:
    matrix: AccuracyMatrix
    texts: Mapping[str, str]  # prompt_id -> prompt, where the source has texts and they were to be kept
    warnings: tuple[str, ...] = ()


Summing = Callable[[Files, Rules], Trajectories]


def read_trajectories(
    uri: str,
    *,
    endpoint: str | None = None,
    steps_per_epoch: int = 8,
    epochs: int | None = None,
    keep_texts: bool = False,
    solved_reward: float = 1.0,
    summing: Summing | None = None,
) -> Trajectories:
    """The first `epochs` epochs of the training at `uri`, all complete ones when None.

    `steps_per_epoch` counts where rows name steps instead of epochs. A sample whose reward equals `solved_reward` is
    solved. `summing` replaces `summed`, to share the files among machines. Raises LimrError, naming file, row and
    field, for whatever cannot be used.
    """
    files = find(uri, endpoint)
    rules = Rules(_numbering(files, steps_per_epoch), solved_reward, keep_texts)
    if epochs is not None:
        files = _first_epochs(files, rules.numbering, epochs)
    found = (summing or summed)(files, rules)
    if not found.matrix.prompt_ids:
        raise LimrError(f"{uri}: there are no rows; at least one sample is needed")
    matrix, warning = _whole_epochs(found.matrix, files, rules.numbering) if epochs is None else (found.matrix, [])
    if epochs is not None:
        matrix = _exactly(matrix, epochs, uri)
    return replace(found, matrix=matrix, warnings=(*_missing_steps(files), *warning))


def summed(files: Files, rules: Rules) -> Trajectories:
    """The sums of all rows of `files`; memory grows with prompts × epochs and with kept texts only."""
    accumulator, texts = Accumulator(rules.solved_reward), Texts(rules.keep_texts)
    for batch in _batches(files, rules, texts):
        accumulator.add(batch)
    return Trajectories(accumulator.matrix(), texts.by_id)


def _batches(files: Files, rules: Rules, texts: Texts) -> Iterator[Batch]:
    if files.kind is Kind.PARQUET:
        return parquet_rows.batches(files.files, rules.numbering, rules.solved_reward, texts)
    return json_rows.batches(files.files, files.steps, rules.numbering, rules.solved_reward, texts)


def _numbering(files: Files, steps_per_epoch: int) -> Numbering:
    if files.kind is Kind.STEPS:
        field, first = "step", files.steps[0]
    elif files.kind is Kind.PARQUET:
        field, first = parquet_rows.first_number(files.files[0])
    else:
        field, first = json_rows.first_number(files.files[0])
    return numbering(field, first, steps_per_epoch)


def _first_epochs(files: Files, numbering: Numbering, epochs: int) -> Files:
    """Without the step files that come later."""
    if files.kind is not Kind.STEPS:
        return files
    wanted = [index for index, step in enumerate(files.steps) if numbering.epoch_of_step(step) <= epochs]
    return Files(files.kind, [files.files[index] for index in wanted], [files.steps[index] for index in wanted])


def _exactly(matrix: AccuracyMatrix, epochs: int, uri: str) -> AccuracyMatrix:
    if matrix.epochs < epochs:
        raise LimrError(f"{uri}: holds {matrix.epochs} epochs, not {epochs}; ask for at most {matrix.epochs}")
    return matrix.first(epochs)


def _whole_epochs(matrix: AccuracyMatrix, files: Files, numbering: Numbering) -> tuple[AccuracyMatrix, list[str]]:
    """Without an epoch that the step files only begin: most prompts would count as not seen in it."""
    complete = numbering.complete_epochs(files.steps[-1]) if files.steps else matrix.epochs
    if not 0 < complete < matrix.epochs:
        return matrix, []
    warning = f"epoch {matrix.epochs} is not complete (its last step is {files.steps[-1]}) and was left out"
    return matrix.first(complete), [warning]


def _missing_steps(files: Files) -> list[str]:
    """A warning when step files are missing in between."""
    missing = sorted(set(range(files.steps[0], files.steps[-1])) - set(files.steps)) if files.steps else []
    if not missing:
        return []
    shown = ", ".join(f"step_{step}.json" for step in missing[:MOST_MISSING_SHOWN])
    more = f" and {len(missing) - MOST_MISSING_SHOWN} more" if len(missing) > MOST_MISSING_SHOWN else ""
    return [f"{shown}{more} missing: their prompts count as not seen in that epoch"]
