"""Finding one's way in the spec's models by the location that pydantic gives an error."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from limr.spec import Experiment

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Node:
    """A place in the spec: below the innermost field `steps[:depth]` of a model, or at it."""

    steps: Steps  # as in the file, without pydantic's names for members of unions
    depth: int
    field: FieldInfo | None  # None at the top and for an unknown one
    siblings: tuple[str, ...]  # all fields of the model that has the field

    @property
    def description(self) -> str:
        return (self.field.description or "") if self.field else ""

    @property
    def annotation(self) -> Any:
        return self.field.annotation if self.field else None


def find(location: Sequence[str | int]) -> Node:
    node = Node((), 0, None, ())
    model: type[BaseModel] | None = Experiment
    for step in location:
        known = fields_of(model) if model else {}
        if isinstance(step, str) and model is not None:
            steps = (*node.steps, step)
            node = Node(steps, len(steps), known.get(step), tuple(known))
            model = model_in(node.annotation) if step in known else None
        elif isinstance(step, int) or _is_mapping(node):
            node = Node((*node.steps, step), node.depth, node.field, node.siblings)
    return node


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by their names in files."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in a field's type, also within a list or an optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := model_in(part))), None)


def _is_mapping(node: Node) -> bool:
    """Whether the next step is a key of the person's own choice (parameters, nodeSelector)."""
    return typing.get_origin(node.annotation) is dict and len(node.steps) == node.depth
