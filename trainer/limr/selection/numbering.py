"""Which epoch a sample belongs to, from the epoch or step number in its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limr.errors import LimrError


@dataclass(frozen=True)
class Numbering:
    field: str  # "epoch" or "step"
    first: int  # 0 or 1: what the source calls its first epoch or step
    steps_per_epoch: int

    def epochs(self, numbers: NDArray[np.integer[Any]], name: str, rows: Sequence[int]) -> NDArray[np.int32]:
        """The epoch of each row, from 1. `rows` are the rows' numbers in the file `name`, for the message.

        Raises LimrError with the row of a number below the first.
        """
        if len(numbers) and numbers.min() < self.first:
            bad = int(np.argmax(numbers < self.first))
            raise LimrError(
                f"{name}: row {rows[bad]}: {self.field} {numbers[bad]} comes before {self.field} {self.first}, with "
                f"which the source begins in its first row; number all rows in the same way"
            )
        if self.field == "step":
            return ((numbers - self.first) // self.steps_per_epoch + 1).astype(np.int32)
        return (numbers + (1 - self.first)).astype(np.int32)

    def epoch_of_step(self, step: int) -> int:
        return (step - self.first) // self.steps_per_epoch + 1

    def complete_epochs(self, last_step: int) -> int:
        """Epochs of which all steps are there, when `last_step` is the last one."""
        return (last_step - self.first + 1) // self.steps_per_epoch


def numbering(field: str, first_number: int, steps_per_epoch: int) -> Numbering:
    """From the number in the first row: a source that begins at 0 counts from 0, every other one from 1."""
    return Numbering(field, 0 if first_number == 0 else 1, steps_per_epoch)
