"""`spec.selection` and `spec.arms`: how prompts are chosen, and what is trained on them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)

from limr.cel import Cel
from limr.spec.part import NonEmpty, Part, Seed, ShortName, Uri, refuse


class Reading(StrEnum):
    CODE = "code"
    PAPER = "paper"
    CORRECTED = "corrected"


class Strategy(Part):
    """How prompts are chosen. Further strategies come from installed packages (entry point limr.strategies)."""

    strategy: NonEmpty = Field("lim", description="lim, linear, random, full, passrate, variance, or an installed one.")
    threshold: float | None = Field(
        None, description="Keep scores from here on; default: the strategy's own (lim 0.6)."
    )
    reading: Reading = Field(
        Reading.CODE, description="Which reading of LIM: the paper's code, its text, or corrected."
    )
    round_digits: int | None = Field(None, ge=0, le=12, description="Round scores before comparing with the threshold.")
    parameters: dict[str, float | int | str | bool] = Field(
        {}, max_length=32, description="Settings of the strategy, for example {low: 0.2, high: 0.8} for passrate."
    )


class Selection(Strategy):
    scores_from: Uri | None = Field(
        None, description="File with scores one already has (JSON, Parquet): no probe runs."
    )


class SubsetSize(Part):
    same_as: ShortName | None = Field(None, description="As many prompts as that arm selected.")
    count: int | None = Field(None, ge=1, description="This many prompts.")
    fraction: float | None = Field(None, gt=0, le=1, description="This share of the dataset.")

    cel = (
        Cel(
            "[has(self.sameAs), has(self.count), has(self.fraction)].filter(given, given).size() == 1",
            "give exactly one of sameAs, count, fraction",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in ("same_as", "count", "fraction") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of sameAs, count, fraction")
        return self


class Arm(Part):
    """One follow-on training. Without a strategy it uses spec.selection."""

    name: ShortName = Field(description="Names the arm's stages and its line in the results.")
    selection: Strategy | None = Field(None, description="How this arm chooses its prompts; default: spec.selection.")
    size: SubsetSize | None = Field(None, description="How many prompts; the best-scored ones, or drawn by random.")
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=20)] = Field([1], description="One training for each.")
    steps: int | None = Field(None, ge=1, description="Training steps; default: spec.training, else as the probe.")
    reuse_probe: bool = Field(
        False, description="Do not train: the probe itself, a training on all prompts, is this arm's result."
    )

    cel = (
        Cel(
            "self.seeds.all(seed, self.seeds.exists_one(other, other == seed))",
            "seeds has a value twice; each seed is one training",
            at="seeds",
        ),
        Cel(
            "!self.reuseProbe || !(has(self.size) || has(self.steps) || has(self.selection))",
            "reuseProbe takes the probe as it is; remove selection, size and steps",
            at="reuseProbe",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if len(set(self.seeds)) != len(self.seeds):
            problems.append("seeds has a value twice; each seed is one training")
        if self.reuse_probe and (self.size or self.steps or self.selection):
            problems.append("reuseProbe takes the probe as it is; remove selection, size and steps")
        refuse(problems)
        return self
