"""From an experiment's file and `--set` options to the experiment, or to all of their mistakes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from limr.errors import LimrError
from limr.spec import Experiment
from limr.tracking.libraries import missing_libraries
from limr.validate import document, overrides
from limr.validate.collect import Collector
from limr.validate.explain import shown
from limr.validate.files import missing_files
from limr.validate.mistake import InvalidSpec, Mistake
from limr.validate.paths import resolved
from limr.validate.rules import rules


def load(source: Path | str, settings: Sequence[str] = ()) -> Experiment:
    """The experiment in a file, or in a text.

    `settings` are "path=value", applied before the check. Raises InvalidSpec with every mistake, LimrError when the
    file cannot be read.
    """
    name = str(source) if isinstance(source, Path) else "the experiment"
    experiment, mistakes = check(_text(source) if isinstance(source, Path) else source, settings)
    if experiment is None or mistakes:
        raise InvalidSpec(name, mistakes)
    return experiment


def load_for_run(file: Path, settings: Sequence[str], workdir: Path) -> Experiment:
    """The experiment in `file` with absolute paths; its local inputs are there, its dataset can be read, and
    what speaks to its trackers is installed.

    Raises InvalidSpec as `load` does, and for files and libraries.
    """
    experiment = resolved(load(file, settings), file.absolute().parent, workdir.absolute())
    mistakes = [*missing_files(experiment), *(Mistake(*missing) for missing in missing_libraries(experiment.spec))]
    if mistakes:
        raise InvalidSpec(str(file), mistakes)
    return experiment


def check(text: str, settings: Sequence[str] = ()) -> tuple[Experiment | None, list[Mistake]]:
    """The experiment (with wrong fields at their defaults, if that gives one) and every mistake."""
    data, mistakes = document.parse(text)
    if data is None and mistakes:
        return None, mistakes
    if not isinstance(data, dict):
        return None, [*mistakes, Mistake("", f"the file holds {shown(data)}; write the fields of one LIMRExperiment")]
    mistakes += overrides.apply(data, settings)
    unusual = _not_plain(data)
    if unusual:
        return None, [*mistakes, *unusual]
    mistakes += _header(data)
    data.pop("status", None)  # of a stored resource
    collector = Collector({**data, "apiVersion": _known("api_version"), "kind": _known("kind")})
    experiment = collector.check()
    if experiment is not None:
        collector.add(rules(experiment))
    return experiment, [*mistakes, *collector.mistakes]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LimrError(f"{file}: cannot be read ({error.strerror}); give the path of an experiment's file") from None
    except UnicodeDecodeError as error:
        raise LimrError(f"{file}: byte {error.start} is not UTF-8; convert the file to UTF-8") from None


def _not_plain(data: Any) -> list[Mistake]:
    try:
        json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        return [Mistake("", f"the file holds more than text, numbers, lists and fields ({error}); write only these")]
    return []


def _header(data: dict[str, Any]) -> list[Mistake]:
    """Both lines are required in a file: kubectl would refuse it without them."""
    mistakes = []
    for name, field in (("apiVersion", "api_version"), ("kind", "kind")):
        if name not in data:
            mistakes.append(Mistake(name, f"is missing; write {name}: {_known(field)}"))
        elif data[name] != _known(field):
            mistakes.append(Mistake(name, f"is {shown(data[name])}; write {_known(field)}"))
    return mistakes


def _known(field: str) -> str:
    (word,) = get_args(Experiment.model_fields[field].annotation)
    return str(word)
