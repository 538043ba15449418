"""Adds up samples into an accuracy matrix; memory grows with prompts × epochs, not with samples.

Rows are first reduced to the few sums that they hold, which needs no lock and so runs in the readers' threads. Naming
the prompts is the dear part: it waits until there are several times as many names as are known, and is then one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limr.errors import LimrError
from limr.selection.accuracy import AccuracyMatrix
from limr.selection.prompt_index import PromptIndex

MIN_PENDING = 1 << 18
PENDING_PER_KNOWN = 4
MAX_EPOCHS = 10_000


@dataclass(frozen=True)
class Rows:
    """Some samples, column by column. Readers have checked them: no nulls, finite rewards."""

    names: Any  # pa.StringArray [M]: prompt ids; one may stand there twice
    prompt: NDArray[np.int32]  # [rows] index into names
    epoch: NDArray[np.int32]  # [rows] from 1
    reward: NDArray[np.float32] | NDArray[np.float64]  # [rows]


@dataclass(frozen=True)
class Sums:
    """Of samples in one epoch, by prompt; a prompt may stand there more than once."""

    prompt: NDArray[Any]
    correct: NDArray[np.int32]
    total: NDArray[np.int32]
    reward_sum: NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    names: Any  # pa.StringArray, which the sums' `prompt` points into
    epochs: dict[int, Sums]

    def __len__(self) -> int:
        return max(len(self.names), *(len(sums.prompt) for sums in self.epochs.values()))


def reduce(rows: Rows, solved_reward: float) -> Batch | None:
    """The sums of `rows`, at most one for each (epoch, prompt) or for each run of neighbours; None for no rows.

    Trainers write a prompt's samples one after the other, so runs are folded first.
    """
    if not len(rows.prompt):
        return None
    names, first = len(rows.names), int(rows.epoch.min())
    epochs = int(rows.epoch.max()) - first + 1
    cell = rows.prompt.astype(np.int64)
    if epochs > 1:
        cell += (rows.epoch.astype(np.int64) - first) * names
    starts = np.concatenate(([0], np.flatnonzero(cell[1:] != cell[:-1]) + 1))
    total = np.diff(starts, append=len(cell)).astype(np.int32)
    correct = np.add.reduceat(rows.reward == solved_reward, starts, dtype=np.int32)
    reward_sum = np.add.reduceat(rows.reward, starts, dtype=np.float64)
    cell = cell[starts]
    if len(cell) > epochs * names:
        total, correct, reward_sum = (
            np.bincount(cell, sums, epochs * names).astype(sums.dtype) for sums in (total, correct, reward_sum)
        )
        cell = np.flatnonzero(total)
        total, correct, reward_sum = total[cell], correct[cell], reward_sum[cell]
    return Batch(rows.names, _by_epoch(cell, names, first, epochs, (correct, total, reward_sum)))


def _by_epoch(cell: NDArray[np.int64], names: int, first: int, epochs: int, sums: Sequence[Any]) -> dict[int, Sums]:
    """Takes sums apart by epoch; `cell` is epoch · names + prompt."""
    if epochs == 1:
        return {first: Sums(cell, *sums)}
    order = np.argsort(cell, kind="stable")
    bounds = np.searchsorted(cell[order], np.arange(epochs + 1) * names)
    parts = [order[begin:end] for begin, end in pairwise(bounds)]
    return {
        first + epoch: Sums(cell[part] - epoch * names, *(column[part] for column in sums))
        for epoch, part in enumerate(parts)
        if len(part)
    }


class Accumulator:
    def __init__(self, solved_reward: float = 1.0) -> None:
        self._solved_reward = solved_reward
        self._index = PromptIndex()
        self._epochs: dict[int, _Column] = {}
        self._pending: list[Batch] = []
        self._pending_size = 0

    def add(self, batch: Batch) -> None:
        self._pending.append(batch)
        self._pending_size += len(batch)
        if self._pending_size >= max(MIN_PENDING, PENDING_PER_KNOWN * len(self._index)):
            self._flush()

    def matrix(self) -> AccuracyMatrix:
        """All samples so far. Raises LimrError when epochs are numbered so that they cannot be epochs."""
        self._flush()
        last = max(self._epochs, default=0)
        if last > MAX_EPOCHS:
            raise LimrError(f"epochs are numbered up to {last}; number them 1, 2, …, at most {MAX_EPOCHS:,}")
        prompt_ids, order = self._index.ordered()
        columns = [self._epochs.get(epoch, _Column()).grown(len(order)) for epoch in range(1, last + 1)]
        return AccuracyMatrix(
            prompt_ids,
            _stacked([column.correct for column in columns], order, np.int32),
            _stacked([column.total for column in columns], order, np.int32),
            _stacked([column.reward_sum for column in columns], order, np.float64),
            self._solved_reward,
        )

    def _flush(self) -> None:
        if not self._pending:
            return
        codes = self._index.encode([batch.names for batch in self._pending])
        begin = 0
        for batch in self._pending:
            code = codes[begin : begin + len(batch.names)]
            begin += len(batch.names)
            for epoch, sums in batch.epochs.items():
                column = self._epochs.setdefault(epoch, _Column()).grown(len(self._index))
                column.add(code[sums.prompt], sums)
        self._pending, self._pending_size = [], 0


class _Column:
    """The sums of all prompts in one epoch, by prompt number."""

    def __init__(self) -> None:
        self.correct = np.zeros(0, np.int32)
        self.total = np.zeros(0, np.int32)
        self.reward_sum = np.zeros(0, np.float64)

    def grown(self, prompts: int) -> _Column:
        missing = prompts - len(self.total)
        if missing > 0:
            self.correct = np.pad(self.correct, (0, missing))
            self.total = np.pad(self.total, (0, missing))
            self.reward_sum = np.pad(self.reward_sum, (0, missing))
        return self

    def add(self, prompt: NDArray[np.int32], sums: Sums) -> None:
        np.add.at(self.correct, prompt, sums.correct)
        np.add.at(self.total, prompt, sums.total)
        np.add.at(self.reward_sum, prompt, sums.reward_sum)


def _stacked(columns: Sequence[NDArray[Any]], order: NDArray[np.intp], kind: type[np.generic]) -> Any:
    """[prompts, epochs], column-major, rows in `order`."""
    stacked = np.empty((len(columns), len(order)), kind)
    for row, column in zip(stacked, columns, strict=True):
        np.take(column, order, out=row, mode="clip")  # the mode that writes to `out` directly
    return stacked.T
