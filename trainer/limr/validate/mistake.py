"""A mistake in an experiment's file, and the error that carries all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limr.errors import LimrError


@dataclass(frozen=True)
class Mistake:
    path: str  # as a person writes it: spec.arms[1].size.sameAs; empty for the whole file
    message: str  # what is wrong, with the value, and what to write

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidSpec(LimrError):
    def __init__(self, name: str, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        if len(mistakes) == 1:
            super().__init__(f"{name}: {mistakes[0]}")
        else:
            super().__init__(f"{name}: {len(mistakes)} mistakes:\n  " + "\n  ".join(map(str, mistakes)))
