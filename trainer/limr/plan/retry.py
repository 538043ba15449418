"""Fresh tries on request: an annotation that anyone who may edit the experiment can write, honoured once."""

from __future__ import annotations

from datetime import UTC, datetime

from limr.plan.decide import renewed
from limr.plan.status import Status

ANNOTATION = "limr.dev/retry"
EVERY = "*"  # in place of a stage's name


def retry_request(stage: str, now: datetime) -> str:
    """The annotation's value. The time makes it another one than the last, so that it is honoured again."""
    return f"{stage} {now.astimezone(UTC).isoformat(timespec='microseconds').replace('+00:00', 'Z')}"


def requested_stage(request: str) -> str:
    return request.split(maxsplit=1)[0] if request.strip() else ""


def with_retry(status: Status, request: str) -> Status:
    """`status` with the fresh tries that `request` asks for, unless it was honoured before or names no stage."""
    stage = requested_stage(request)
    if not stage or request == status.retried:
        return status
    return renewed(status, None if stage == EVERY else stage).model_copy(update={"retried": request})
