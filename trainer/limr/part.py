"""What the parts of a spec have in common: how they are read, and how they say what is wrong."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from limr.cel import Cel

NonEmpty = Annotated[str, StringConstraints(min_length=1, max_length=256)]
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
