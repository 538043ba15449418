"""All mistakes of a document at once.

Pydantic stops a part's own rules when one of its fields is wrong. So wrong fields are put back to their defaults and
the document is checked again, until nothing new is found. A rule that names a field which was put back is not believed:
the field's own mistake has been told already.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from limr.spec import Experiment
from limr.validate.explain import explain, similar
from limr.validate.mistake import Mistake
from limr.validate.overrides import path_text
from limr.validate.schema import Node, Steps, fields_of, find, model_in

MAX_ROUNDS = 20

# Every other field of a list's entry concerns that entry alone.
NAMES_THAT_OTHERS_USE = frozenset({"name"})


class Collector:
    """Checks one document; `data` is changed on the way."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = copy.deepcopy(data)
        self._dropped: list[tuple[Steps, frozenset[str]]] = []  # where, and the names of the fields
        self._numbers = itertools.count()
        self.mistakes: list[Mistake] = []

    def check(self) -> Experiment | None:
        """The experiment, with wrong fields at their defaults; None when even that is none."""
        for _ in range(MAX_ROUNDS):
            problems: list[str] = []
            try:
                experiment = Experiment.model_validate_json(
                    json.dumps(self._data), strict=True, context=problems, by_alias=True, by_name=False
                )
                self.add(problems)
                return experiment
            except ValidationError as invalid:
                for error in _one_per_place(invalid.errors(include_url=False)):
                    self._note(error)
        return None

    def add(self, lines: Iterable[str]) -> None:
        """Takes over what rules about several parts say, one "path: message" each."""
        for line in lines:
            path, _, message = line.partition(": ")
            self._add_rule(path, message, ())

    def _note(self, error: ErrorDetails) -> None:
        node = find(error["loc"])
        if error["type"] != "value_error":
            self.mistakes.append(Mistake(path_text(node.steps), explain(error, node)))
            self._drop(error, node)
            return
        rules = str(error["ctx"]["error"])
        for message in rules.splitlines():
            self._add_rule(path_text(node.steps), message, node.steps)
        if not self._drop_mentioned(rules, node):
            self._drop(error, node)

    def _add_rule(self, path: str, message: str, scope: Steps) -> None:
        """`scope` is the part whose fields the rule joins."""
        words = _words(message)
        for where, names in self._dropped:
            if _another_entry(path, where):
                names = names & NAMES_THAT_OTHERS_USE
            mentioned = where[: len(scope)] == scope and names & words
            if mentioned or f"{path}.".startswith((f"{path_text(where)}.", f"{path_text(where)}[")):
                return
        self.mistakes.append(Mistake(path, message))

    def _drop_mentioned(self, message: str, node: Node) -> bool:
        """Puts those fields of a part back to their defaults that its broken rule names; whether there are any."""
        part = model_in(node.annotation)
        assert part is not None, "only parts have rules"
        given = _at(self._data, node.steps)
        mentioned = [
            name
            for name, field in fields_of(part).items()
            if name in _words(message) and name in given and not field.is_required()
        ]
        for name in mentioned:
            self._dropped.append(((*node.steps, name), frozenset({name})))
            del given[name]
        return bool(mentioned)

    def _drop(self, error: ErrorDetails, node: Node) -> None:
        """Puts the innermost field around the mistake back to its default, or one entry of a list of parts."""
        steps = node.steps
        part = model_in(node.annotation)
        if part is None or not isinstance(steps[-1], int):
            steps = steps[: node.depth]
        names = {str(step) for step in steps[-1:]} | (set(fields_of(part)) if part else set())
        if error["type"] == "extra_forbidden":
            names.add(similar(str(steps[-1]), node.siblings) or "")
        self._dropped.append((steps, frozenset(names)))
        _replace(self._data, steps, self._placeholder(node, entry=isinstance(steps[-1], int)))

    def _placeholder(self, node: Node, entry: bool) -> Any:
        """Something valid for a required place; None where there is a default to fall back on."""
        if node.field is None or not (entry or node.field.is_required()):
            return None
        return self._valid(node.annotation)

    def _required(self, model: type[BaseModel]) -> dict[str, Any]:
        return {name: self._valid(field.annotation) for name, field in fields_of(model).items() if field.is_required()}

    def _valid(self, annotation: Any) -> Any:
        part = model_in(annotation)
        if part:
            return self._required(part)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return next(iter(annotation)).value
        return f"p{next(self._numbers)}"


def _one_per_place(errors: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """A value that fits no member of a union has an error for each; the first stands for all."""
    seen: set[Steps] = set()
    for error in errors:
        node = find(error["loc"])
        if node.steps in seen:
            continue
        seen.add(node.steps)
        yield _union_error(error, node)


def _union_error(error: ErrorDetails, node: Node) -> ErrorDetails:
    if typing.get_origin(node.annotation) is dict and len(error["loc"]) > len(node.steps):
        return typing.cast(ErrorDetails, {**error, "type": "setting_type"})
    return error


def _another_entry(path: str, where: Steps) -> bool:
    """Whether the two lie in different entries of one list."""
    for depth, step in enumerate(where):
        if isinstance(step, int):
            return path.startswith(f"{path_text(where[:depth])}[") and not path.startswith(
                path_text(where[: depth + 1])
            )
    return False


def _words(message: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]\w*", message))


def _at(data: Any, steps: Steps) -> Any:
    for step in steps:
        data = data[step]
    return data


def _replace(data: Any, steps: Steps, value: Any) -> None:
    parent = _at(data, steps[:-1])
    if value is not None:
        parent[steps[-1]] = value
    elif steps[-1] in parent:  # not yet put back because of another mistake in it
        del parent[steps[-1]]
