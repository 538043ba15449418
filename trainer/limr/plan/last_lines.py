"""Which attempts that failed have the last lines of their logs in the status: there may be hundreds of stages.

The API server refuses an object of more than about 1.5 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from limr.plan.status import StageState, StageStatus

KEPT = 16  # stages, of two attempts each: at most 48,000 characters
TOLD = 3  # failed stages, in the condition
_AT_WORK = datetime.max.replace(tzinfo=UTC)


def kept(stages: Mapping[str, StageStatus]) -> dict[str, StageStatus]:
    """`stages` with the last lines of those that are tried again and of those that ended last."""
    having = [
        name for name, stage in stages.items() if stage.last_lines or (stage.previous and stage.previous.last_lines)
    ]
    having.sort(key=lambda name: stages[name].finished_at or _AT_WORK, reverse=True)
    return {name: stage if name not in having[KEPT:] else _without(stage) for name, stage in stages.items()}


def told(stages: Mapping[str, StageStatus]) -> Iterator[str]:
    """Paragraphs for a person, of the first stages that have failed for good."""
    failed = [name for name, stage in stages.items() if stage.state is StageState.FAILED and stage.last_lines]
    for name in failed[:TOLD]:
        yield "\n".join([f"The last lines of {name}:", *(f"| {line}" for line in stages[name].last_lines)])


def _without(stage: StageStatus) -> StageStatus:
    previous = stage.previous and stage.previous.model_copy(update={"last_lines": ()})
    return stage.model_copy(update={"last_lines": (), "previous": previous})
