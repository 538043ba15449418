"""`--set path=value`: fields changed on the command line, before the file is checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from limr.validate import document
from limr.validate.mistake import Mistake

_PATH = re.compile(r"[A-Za-z]\w*(\[\d+\])*(\.[A-Za-z]\w*(\[\d+\])*)*")
_STEP = re.compile(r"([A-Za-z]\w*)|\[(\d+)\]")


def apply(data: Any, overrides: Sequence[str]) -> list[Mistake]:
    """Changes `data` in place; the mistakes name the override that could not be applied."""
    mistakes = (_apply_one(data, override) for override in overrides)
    return [mistake for mistake in mistakes if mistake]


def _apply_one(data: Any, override: str) -> Mistake | None:
    path, equals, text = override.partition("=")
    where = f"--set {override}"
    if not equals or not _PATH.fullmatch(path):
        return Mistake(
            where, "is not path=value; write for example spec.ppo.promptsPerStep=32 or spec.arms[0].seeds=[1,2]"
        )
    value, problems = document.parse(text) if text.strip() else (None, [])
    if problems:
        return Mistake(where, f"its value: {problems[0].message}")
    steps = [name or int(index) for name, index in _STEP.findall(path)]
    return _put(data, steps, value, where)


def _put(data: Any, steps: list[str | int], value: Any, where: str) -> Mistake | None:
    here = data
    for done, (step, following) in enumerate(zip(steps, [*steps[1:], None], strict=True)):
        problem = _cannot_hold(here, step)
        if problem:
            return Mistake(where, f"{path_text(steps[:done]) or 'the file'} {problem}")
        if following is None:
            here[step] = value
            return None
        if isinstance(step, str) and isinstance(following, str) and here.get(step) is None:
            here[step] = {}
        here = here.get(step) if isinstance(step, str) else here[step]
    return None


def _cannot_hold(here: Any, step: str | int) -> str | None:
    if isinstance(step, str):
        return None if isinstance(here, dict) else f"has no fields, so it has no {step!r}"
    if not isinstance(here, list):
        return f"is no list, so it has no entry [{step}]"
    return None if step < len(here) else f"has {len(here)} entries, counted from 0, so it has no entry [{step}]"


def path_text(steps: Sequence[str | int]) -> str:
    """spec.arms[1].size from its steps."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
