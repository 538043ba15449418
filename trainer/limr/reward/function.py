"""A person's own reward function, by its import path. It runs inside the grading processes only."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable
from numbers import Real

from limr.errors import LimrError
from limr.reward.verdict import Grade, Verdict

RewardFunction = Callable[[str, str, bool], object]


def load(path: str) -> RewardFunction:
    """The function at "package.module:function".

    Raises LimrError when there is none, or when it does not take (response, answer, truncated).
    """
    where = f"reward.function {path!r}"
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise LimrError(
            f"{where}: module {module_name!r} cannot be imported ({type(error).__name__}: {error}); "
            "install it in the trainer's environment, or put its folder on PYTHONPATH"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise LimrError(f"{where}: module {module_name!r} has no function {name!r}; correct the name after the colon")
    try:
        inspect.signature(function).bind("", "", False)
    except TypeError as error:
        raise LimrError(
            f"{where}: must take (response: str, answer: str, truncated: bool), but its signature does not: {error}"
        ) from None
    return function  # type: ignore[no-any-return]


def call(function: RewardFunction, response: str, answer: str, truncated: bool) -> float | Grade:
    """What the function says, as plain values: an own subclass of Grade could not be read by the trainer.

    Raises TypeError or ValueError when it returns something else than a finite number or a Grade.
    """
    result = function(response, answer, truncated)
    if isinstance(result, Grade):
        return Grade(Verdict(result.verdict), _finite(result.reward), str(result.detail))
    return _finite(result)


def _finite(value: object) -> float:
    if not isinstance(value, Real):
        raise TypeError(f"the reward function returned {type(value).__name__}, not a number or a Grade")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"the reward function returned {number}; a reward must be finite")
    return number
