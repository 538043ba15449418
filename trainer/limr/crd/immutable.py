"""What may not change once the experiment has started, as transition rules: the API server's `immutable_changes`."""

from __future__ import annotations

from limr.cel import Cel
from limr.plan import fixed_fields

# The plan stores an attempt's number before it makes the attempt, so no change can slip in between.
_STARTED = (
    "has(oldSelf.status) && has(oldSelf.status.stages) && "
    "oldSelf.status.stages.exists(name, oldSelf.status.stages[name].?attempt.orValue(0) > 0)"
)
_FIXED = (
    "is fixed once the experiment has started, because its results depend on it; "
    "set it back, or write it into an experiment of another name"
)


def immutable_rules() -> list[Cel]:
    """One for each field: a whole part that holds a null is not equal to itself in CEL, and a person wants the name."""
    return [_fixed(path) for path in fixed_fields()]


def _fixed(path: str) -> Cel:
    field = "spec" + "".join(f".?{step}" for step in path.split("."))
    return Cel(f"self.{field} == oldSelf.{field} || !({_STARTED})", _FIXED, at=f"spec.{path}")
