"""What the caller of `plan` saw of a child. A child that is not among the observations does not exist."""

from __future__ import annotations

from dataclasses import dataclass

from limr.stage import Progress, StageResult


@dataclass(frozen=True)
class Waiting:
    """It exists but has not begun: queued, or its image is still being pulled. No clock runs."""

    reason: str = "Queued"
    message: str = ""


@dataclass(frozen=True)
class Running:
    progress: Progress | None = None  # None until it has spoken


@dataclass(frozen=True)
class Finished:
    """It ended and handed back a result."""

    result: StageResult
    progress: Progress | None = None  # what it said last


@dataclass(frozen=True)
class Died:
    """It ended without a result. `charged`: it is to blame; False for what was done to it (its machine was taken)."""

    reason: str
    message: str
    charged: bool = True
    last_lines: tuple[str, ...] = ()  # of its log, as far as they are known


Observation = Waiting | Running | Finished | Died
