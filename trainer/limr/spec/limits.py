"""`spec.limits`: when to stop trying."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from limr.cel import Cel
from limr.spec.part import Part, refuse


class Limits(Part):
    attempts: int = Field(3, ge=1, le=20, description="Tries per stage; interruptions and suspensions do not count.")
    active_deadline_seconds: int | None = Field(None, ge=1, description="Longest time for one attempt of a stage.")
    heartbeat_seconds: int = Field(
        1800, ge=10, description="A stage silent for longer has failed; it beats every few seconds."
    )
    wait_seconds: int = Field(1800, ge=1, description="Longest wait for an engine or learner that makes no progress.")
    device_hours: float | None = Field(None, gt=0, description="Budget of the whole experiment.")

    cel = (
        Cel(
            "self.heartbeatSeconds >= self.waitSeconds",
            "heartbeatSeconds = ${self.heartbeatSeconds} is shorter than waitSeconds = ${self.waitSeconds}, so a stage "
            "could be ended while it rightly waits; make heartbeatSeconds at least ${self.waitSeconds} or waitSeconds "
            "at most ${self.heartbeatSeconds}",
            at="heartbeatSeconds",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        heartbeat, wait = self.heartbeat_seconds, self.wait_seconds
        if heartbeat < wait:
            refuse(
                [
                    f"heartbeatSeconds = {heartbeat} is shorter than waitSeconds = {wait}, so a stage could be ended "
                    f"while it rightly waits; make heartbeatSeconds at least {wait} or waitSeconds at most {heartbeat}"
                ]
            )
        return self
