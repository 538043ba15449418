"""Writes the demo's prompts and its held-out benchmark: dataset.jsonl and benchmark.jsonl, beside this file.

    python examples/arithmetic/make_data.py

Three bands: sums that the pupil (pupil.py) always gets right, sums with a shaky column, which can be learned, and
products that nobody does in one's head. No question stands in both files.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pupil import is_sure

HERE = Path(__file__).parent
SEED = 1


@dataclass(frozen=True)
class Question:
    left: int
    operator: str
    right: int

    @property
    def prompt(self) -> str:
        return f"{self.left}{self.operator}{self.right}="

    @property
    def answer(self) -> int:
        return self.left + self.right if self.operator == "+" else self.left * self.right


@dataclass(frozen=True)
class Band:
    """A kind of question: how to draw one, and how many go into the dataset and into the benchmark."""

    name: str
    draw: Callable[[random.Random], Question]
    prompts: int
    held_out: int


def a_sum(rng: random.Random) -> Question:
    return Question(rng.randint(10, 99), "+", rng.randint(10, 99))


def sure_sum(rng: random.Random) -> Question:
    while True:
        question = a_sum(rng)
        if is_sure(question.left, question.right):
            return question


def shaky_sum(rng: random.Random) -> Question:
    while True:
        question = a_sum(rng)
        if not is_sure(question.left, question.right):
            return question


def product(rng: random.Random) -> Question:
    """Three digits each: far beyond three layers that answer without working on paper."""
    return Question(rng.randint(100, 999), "*", rng.randint(100, 999))


BANDS = (
    Band("sure", sure_sum, prompts=128, held_out=60),
    Band("shaky", shaky_sum, prompts=160, held_out=100),
    Band("product", product, prompts=96, held_out=40),
)


def make() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows of the dataset and of the benchmark, each in random order, without a question in common."""
    rng = random.Random(SEED)
    dataset: list[dict[str, str]] = []
    benchmark: list[dict[str, str]] = []
    for band in BANDS:
        questions: dict[str, Question] = {}
        while len(questions) < band.prompts + band.held_out:
            question = band.draw(rng)
            questions[question.prompt] = question
        rows = [{"prompt": q.prompt, "answer": str(q.answer), "band": band.name} for q in questions.values()]
        dataset += rows[: band.prompts]
        benchmark += rows[band.prompts :]
    rng.shuffle(dataset)
    rng.shuffle(benchmark)
    return dataset, benchmark


def write(folder: Path) -> None:
    for name, rows in zip(("dataset.jsonl", "benchmark.jsonl"), make(), strict=True):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write(HERE)
