"""What probe and trainings share besides the recipe: `spec.checkpoint`, `reward`, `probe` and `training`."""

from __future__ import annotations

from pydantic import (
    Field,
)

from limr.spec.part import Part


class Checkpoint(Part):
    every_steps: int = Field(10, ge=1, description="Steps between checkpoints; what follows the last one is redone.")
    keep: int = Field(2, ge=1, description="How many to keep per stage.")


class Reward(Part):
    """+1 correct, −0.5 wrong, −1 for a format error, as in the paper."""

    function: str | None = Field(
        None,
        max_length=256,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
        description="Own grader as package.module:function; see docs/rewards.md. Default: the paper's rule.",
    )
    correct: float = Field(1.0, description="Reward of a correct answer.")
    wrong: float = Field(-0.5, description="Reward of a boxed but wrong answer.")
    malformed: float = Field(-1.0, description="Reward of a format error, a timeout or an error of the grader.")
    timeout_seconds: float = Field(
        5.0, gt=0, description="A verdict that takes more seconds of processor time is 'timeout'."
    )
    memory_mib: int = Field(2048, ge=256, description="Memory that one grading process may use.")
    workers: int | None = Field(None, ge=1, description="Grading processes; default: the cores there are.")


class Probe(Part):
    epochs: int = Field(21, ge=1, description="Passes over the dataset that measure each prompt's learning impact.")


class Training(Part):
    steps: int | None = Field(None, ge=1, description="Steps of every arm; default: as many as the probe took.")
