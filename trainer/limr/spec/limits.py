"""`spec.limits`: when to stop trying."""

from __future__ import annotations

from pydantic import (
    Field,
)

from limr.spec.part import Part


class Limits(Part):
    attempts: int = Field(3, ge=1, le=20, description="Tries per stage; interruptions and suspensions do not count.")
    active_deadline_seconds: int | None = Field(None, ge=1, description="Longest time for one attempt of a stage.")
    heartbeat_seconds: int = Field(900, ge=10, description="A stage silent for longer has failed.")
    wait_seconds: int = Field(1800, ge=1, description="Longest wait for an engine or learner within a step.")
    device_hours: float | None = Field(None, gt=0, description="Budget of the whole experiment.")
