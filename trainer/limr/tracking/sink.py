"""What every tracker can do. Its methods may take long and may raise whatever its library raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True)
class Record:
    """A step, as trackers are told of it."""

    step: int
    time: float  # seconds since 1970
    metrics: Mapping[str, float]  # by the names of limr.tracking.names


class Ending(StrEnum):
    FINISHED = "finished"
    STOPPED = "stopped"  # before its last step; a later attempt goes on
    FAILED = "failed"


class Sink(Protocol):
    next_step: int  # the steps before it are there already

    def log(self, record: Record) -> None: ...

    def close(self, ending: Ending) -> None: ...
