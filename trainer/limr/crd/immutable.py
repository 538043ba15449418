"""What may not change once the experiment has started, as a transition rule: the API server's `immutable_changes`."""

from __future__ import annotations

from collections.abc import Iterator

from limr.cel import Cel, member
from limr.crd.structural import Schema
from limr.plan import may_change

# The plan stores an attempt's number before it makes the attempt, so no change can slip in between.
_STARTED = (
    "has(oldSelf.status) && has(oldSelf.status.stages) && "
    "oldSelf.status.stages.exists(name, oldSelf.status.stages[name].?attempt.orValue(0) > 0)"
)
# Comparing the spec costs the server 5 ms, which most writes of the status are spared: they leave the spec as it is. A
# write of the spec never changes the status.
_STATUS_WRITE = (
    "has(self.status) && has(self.status.progress) && has(oldSelf.status) && has(oldSelf.status.progress) && "
    "self.status.progress != oldSelf.status.progress"
)


def immutable_rule(spec: Schema) -> Cel:
    """One for all fields: the server would evaluate the conditions for each of several again."""
    same = {f"spec.{path}": _same(path, always) for path, always in fixed_fields(spec)}
    changed = ", ".join(f"{expression} ? '' : '{path}'" for path, expression in same.items())
    return Cel(
        f"({_STATUS_WRITE}) || !({_STARTED}) || ({' && '.join(same.values())})",
        f"${{[{changed}].filter(path, path != '')}} are fixed once the experiment has started, because what it has "
        "done depends on them; set them back, or write them into an experiment of another name",
        at="spec",
    )


def fixed_fields(part: Schema, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Paths of what is compared as one value, and whether it is always there.

    Mostly single fields: a person wants the name, and in CEL a part that holds a null is not equal to itself. But a
    field that CEL cannot see is compared by its part.
    """
    for name, field in part["properties"].items():
        path = f"{prefix}{name}"
        if may_change(path):
            continue
        inner = field.get("properties", {}).values()
        if inner and all(map(_seen_by_cel, inner)):
            yield from fixed_fields(field, f"{path}.")
        else:
            assert not any(sub.get("nullable") for sub in inner), f"{path} cannot be compared"
            yield path, (name in part.get("required", ()) or "default" in field) and not field.get("nullable")


def _seen_by_cel(field: Schema) -> bool:
    return "type" in field and all(
        _seen_by_cel(field[key]) for key in ("items", "additionalProperties") if key in field
    )


def _same(path: str, always: bool) -> str:
    """The cost of comparing optionals (`.?`) cannot be bounded, so an absent field takes more words."""
    new, old = f"self.spec.{member(path)}", f"oldSelf.spec.{member(path)}"
    return f"{new} == {old}" if always else f"(has({new}) ? has({old}) && {new} == {old} : !has({old}))"
