"""From a YAML file's text to plain data, stricter than YAML: one document, no key twice, numbers as in JSON."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from limr.validate.mistake import Mistake

_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as kubectl reads it, but 5e-7 is a number and a date is text."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.mistakes: list[Mistake] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                message = f"line {line}, column {key.start_mark.column + 1}: the key {key.value!r} stands here for the "
                self.mistakes.append(
                    Mistake("", f"{message}second time (first in line {lines[key.value]}); remove one")
                )
            lines.setdefault(key.value, line)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_FLOAT, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def parse(text: str) -> tuple[Any, list[Mistake]]:
    """The one document in `text` and what is wrong with the YAML itself; the data is None when it cannot be read."""
    try:
        loader = _Loader(text)
        if not loader.check_node():
            return None, [Mistake("", "the file is empty; it must hold one LIMRExperiment")]
        data = loader.construct_document(loader.get_node())
        if loader.check_node():
            return None, [Mistake("", "the file holds several documents (---); put each experiment in its own file")]
    except yaml.MarkedYAMLError as error:
        return None, [_syntax(error)]
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return None, [Mistake("", f"line {line}: the character #x{error.character:04x} may not stand here; remove it")]
    return data, loader.mistakes


def _syntax(error: yaml.MarkedYAMLError) -> Mistake:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    context = f" {error.context}" if error.context else ""
    hint = "; indent with spaces, not tabs" if error.problem and "'\\t'" in error.problem else ""
    return Mistake("", f"{where}not valid YAML{context}: {error.problem}{hint}")
