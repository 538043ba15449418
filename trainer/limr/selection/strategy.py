"""What a selection strategy is: a name and a pure function from what was measured to one score per prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from limr.errors import LimrError
from limr.selection.accuracy import AccuracyMatrix, Floats
from limr.selection.suggest import suggestion
from limr.spec import Reading

Parameter = float | int | str | bool


@dataclass(frozen=True)
class Request:
    """What a strategy is asked: to score N prompts."""

    prompt_ids: list[str]  # [N] in ascending order
    matrix: AccuracyMatrix | None  # its rows are prompt_ids; None unless the strategy needs trajectories
    parameters: Mapping[str, Parameter]  # all of the strategy's, with defaults filled in
    reading: Reading
    seed: int


@dataclass(frozen=True)
class Scores:
    values: Floats  # [N], the higher the sooner selected; NaN: this prompt has no score
    eligible: NDArray[np.bool_]  # [N] may be selected, if its score is high enough
    strict: bool = False  # select above the threshold, not at it
    never_solved: float | None = None  # what the formula gives a prompt that was never solved, where that can be high


@dataclass(frozen=True)
class Strategy:
    """`score` must be pure: the same request always gives the same scores, also in another process."""

    name: str
    score: Callable[[Request], Scores]
    needs_trajectories: bool = True
    seeded: bool = False  # the scores depend on the seed
    default_threshold: float | None = None
    ranks_only: bool = False  # its scores have no natural threshold: a size or a threshold must be given
    parameters: Mapping[str, Parameter] = field(default_factory=dict)  # their defaults


def complete_parameters(strategy: Strategy, given: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The strategy's parameters with those that are given. Raises LimrError for an unknown name or another type."""
    for name, value in given.items():
        if name not in strategy.parameters:
            known = ", ".join(strategy.parameters) or "it has none"
            hint = suggestion(name, strategy.parameters)
            raise LimrError(f"{strategy.name} has no parameter {name!r}{hint} (parameters: {known})")
        default = strategy.parameters[name]
        if not _fits(value, default):
            raise LimrError(f"{strategy.name}: parameter {name!r} is {value!r}; write one like {default!r}")
    return {**strategy.parameters, **given}


def number(request: Request, name: str) -> float:
    """A parameter whose default is a number."""
    return float(request.parameters[name])


def _fits(value: Parameter, default: Parameter) -> bool:
    if isinstance(default, (bool, str)):
        return type(value) is type(default)
    if isinstance(default, int):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
