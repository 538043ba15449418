"""Samples of small trainings, and plain Python that says what selection must make of them.

The formulas here are written from the paper and its code alone, prompt by prompt, and share nothing with limr.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from limr.dataset import prompt_id
from limr.selection.accumulate import Accumulator, Rows, reduce
from limr.selection.accuracy import AccuracyMatrix


class Sample(NamedTuple):
    prompt: str  # the text
    epoch: int
    reward: float


def matrix_of(samples: Sequence[Sample], batch: int = 7) -> AccuracyMatrix:
    """Through the real accumulator, a few rows at a time."""
    accumulator = Accumulator()
    for begin in range(0, len(samples), batch):
        part = samples[begin : begin + batch]
        names = pa.array([prompt_id(sample.prompt) for sample in part]).dictionary_encode()
        reduced = reduce(
            Rows(
                names.dictionary,
                names.indices.to_numpy(),
                np.array([sample.epoch for sample in part], np.int32),
                np.array([sample.reward for sample in part]),
            ),
            solved_reward=1.0,
        )
        assert reduced is not None
        accumulator.add(reduced)
    return accumulator.matrix()


REWARDS = (1.0, -0.5, -1.0, 0.3)


@st.composite
def trainings(draw: st.DrawFn) -> list[Sample]:
    """Samples in any order, with gaps, repeated rows and prompts that miss the last epochs; at least one sample."""
    prompts = draw(st.integers(1, 6))
    epochs = draw(st.integers(1, 6))
    cell = st.lists(st.sampled_from(REWARDS), max_size=3)
    samples = [
        Sample(f"What is {prompt} + {prompt}?", epoch, reward)
        for prompt in range(prompts)
        for epoch in range(1, epochs + 1)
        for reward in draw(cell)
    ]
    samples += draw(st.lists(st.sampled_from(samples), max_size=4)) if samples else [Sample("What?", 1, 1.0)]
    return draw(st.permutations(samples))


def naive_lim(samples: Iterable[Sample], reading: str) -> dict[str, float]:
    """prompt -> LIM score of the prompts that have one."""
    cells: dict[tuple[str, int], list[float]] = defaultdict(list)
    for sample in samples:
        cells[sample.prompt, sample.epoch].append(sample.reward)
    epochs = range(1, max(epoch for _, epoch in cells) + 1)
    prompts = {prompt for prompt, _ in cells}
    value = _mean_reward if reading == "paper" else _accuracy
    curves = {
        prompt: [value(cells[prompt, epoch]) if (prompt, epoch) in cells else None for epoch in epochs]
        for prompt in prompts
    }
    return _naive_corrected(curves) if reading == "corrected" else _naive_published(curves)


def _accuracy(rewards: Sequence[float]) -> float:
    return sum(reward == 1 for reward in rewards) / len(rewards)


def _mean_reward(rewards: Sequence[float]) -> float:
    return sum(rewards) / len(rewards)


def _naive_published(curves: dict[str, list[float | None]]) -> dict[str, float]:
    for curve in curves.values():
        for k in range(len(curve) - 1):
            if curve[k] is None and curve[k + 1] is not None:
                curve[k] = curve[k + 1]
    whole = {prompt: [r for r in curve if r is not None] for prompt, curve in curves.items() if None not in curve}
    if not whole:
        return {}
    average = [sum(column) / len(whole) for column in zip(*whole.values(), strict=True)]
    best = sum((1 - a) ** 2 for a in average)
    if best == 0:
        return dict.fromkeys(whole, 0.0)
    return {
        prompt: 1 - sum((r - a) ** 2 for r, a in zip(curve, average, strict=True)) / best
        for prompt, curve in whole.items()
    }


def _naive_corrected(curves: dict[str, list[float | None]]) -> dict[str, float]:
    sometimes = [curve for curve in curves.values() if {r for r in curve if r is not None} not in ({0.0}, {1.0})]
    average = []
    for k in range(len(next(iter(curves.values())))):
        seen = [curve[k] for curve in sometimes if curve[k] is not None]
        average.append(sum(seen) / len(seen) if seen else 0.0)
    scores = {}
    for prompt, curve in curves.items():
        pairs = [(r, a) for r, a in zip(curve, average, strict=True) if r is not None]
        if len(pairs) < len(curve) / 2:
            continue
        scale = min(sum((1 - a) ** 2 for _, a in pairs), sum(a**2 for _, a in pairs))
        scores[prompt] = 1 - sum((r - a) ** 2 for r, a in pairs) / scale if scale else 0.0
    return scores


def samples_of_curves(curves: dict[str, Sequence[float]], samples: int = 8) -> list[Sample]:
    """`samples` rewards (+1, −0.5) for each prompt and epoch, with these accuracies (multiples of 1/samples)."""
    return [
        Sample(prompt, epoch, 1.0 if number < round(accuracy * samples) else -0.5)
        for prompt, curve in curves.items()
        for epoch, accuracy in enumerate(curve, start=1)
        for number in range(samples)
    ]


def write_jsonl(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
