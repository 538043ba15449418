"""What the parts of a spec have in common: how they are read, and how they say what is wrong."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from limr.cel import Cel

# An arm's name ends up in RayJob names (at most 47 characters): <experiment>--train-<arm>-s<seed>-<attempt>.
# "--" only stands after the experiment's name, so that no two experiments can claim one child.
ExperimentName = Annotated[str, StringConstraints(pattern=r"^[a-z](-?[a-z0-9])*$", max_length=20)]
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z](-?[a-z0-9])*$", max_length=10)]
Seed = Annotated[int, Field(ge=0, le=999)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonEmpty = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Text = Annotated[str, StringConstraints(max_length=16384)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=253)]


def _add_cel(schema: dict[str, Any], part: type[Part]) -> None:
    if part.cel:
        schema["x-kubernetes-validations"] = [rule.to_json() for rule in part.cel]


class Part(BaseModel):
    """camelCase in files; a misspelt field is an error, never ignored."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
        json_schema_extra=_add_cel,
    )

    cel: ClassVar[tuple[Cel, ...]] = ()


def refuse(problems: list[str]) -> None:
    """For a part's validator: all its broken rules in one error, a line each."""
    if problems:
        raise ValueError("\n".join(problems))
