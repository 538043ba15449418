"""The careless pupil whose sums the demo's model has learned from: what is known, what is shaky, what is wrong then.

Two-digit numbers are added column by column, and every column is a fact such as 7+8=15 remembered from a table of
100. Half of the table is sure. For each other entry the pupil has one wrong value in mind too, and says it now and
then. A wrong column carries as if it were right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SEED = 1
SURE = 1.0
SHAKY = (0.5, 0.25)  # how often the right value comes to mind


@dataclass(frozen=True)
class Fact:
    right: int
    wrong: int
    recall: float  # probability that the right value comes to mind

    def remember(self, rng: random.Random) -> int:
        return self.right if rng.random() < self.recall else self.wrong


def _learn_table(rng: random.Random) -> dict[tuple[int, int], Fact]:
    table = {}
    for first in range(10):
        for second in range(10):
            right = first + second
            wrong = right + rng.choice([step for step in (-2, -1, 1, 2) if 0 <= right + step <= 18])
            recall = rng.choice(SHAKY) if rng.random() < 0.5 else SURE
            table[first, second] = Fact(right, wrong, recall)
    return table


TABLE = _learn_table(random.Random(SEED))


def columns(left: int, right: int) -> tuple[Fact, Fact]:
    """The facts that the sum of two two-digit numbers needs: of the tens and of the ones."""
    return TABLE[left // 10, right // 10], TABLE[left % 10, right % 10]


def is_sure(left: int, right: int) -> bool:
    return all(fact.recall == SURE for fact in columns(left, right))


def add(left: int, right: int, rng: random.Random) -> int:
    """What the pupil says left+right is, this time."""
    tens, ones = (fact.remember(rng) for fact in columns(left, right))
    return 10 * tens + ones
