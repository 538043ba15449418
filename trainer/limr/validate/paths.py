"""Where the files are that an experiment's file names by relative paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from limr.spec import Experiment, Spec

SomePart = TypeVar("SomePart", bound=BaseModel)


def resolved(experiment: Experiment, folder: Path, workdir: Path) -> Experiment:
    """The experiment with absolute paths.

    Inputs are relative to `folder`, where the experiment's file is, so that it can be run from anywhere; storage.uri
    is relative to `workdir`. A model is a path only when it begins with "./", "../", "~/" or "/": Qwen/Qwen2.5 is a
    hub id.
    """
    spec = experiment.spec
    benchmarks = [_with(benchmark, uri=_absolute(benchmark.uri, folder)) for benchmark in spec.evaluation.benchmarks]
    scores = spec.selection.scores_from
    return _with(
        experiment,
        spec=_with(
            spec,
            model=_with(spec.model, uri=_model(spec.model.uri, folder)),
            dataset=_with(spec.dataset, uri=_absolute(spec.dataset.uri, folder)),
            storage=_with(spec.storage, uri=_absolute(spec.storage.uri, workdir)),
            selection=_with(spec.selection, scores_from=_absolute(scores, folder) if scores else None),
            evaluation=_with(spec.evaluation, benchmarks=benchmarks),
        ),
    )


def local_files(spec: Spec) -> list[tuple[str, Path]]:
    """Field path and path of every input on this machine, in an experiment that is resolved."""
    named = [
        ("spec.dataset.uri", spec.dataset.uri),
        *((f"spec.evaluation.benchmarks[{i}].uri", b.uri) for i, b in enumerate(spec.evaluation.benchmarks)),
    ]
    if spec.selection.scores_from:
        named.append(("spec.selection.scoresFrom", spec.selection.scores_from))
    return [(field, Path(uri)) for field, uri in named if "://" not in uri]


def model_folder(spec: Spec) -> Path | None:
    """The model's directory on this machine, in an experiment that is resolved; None for a hub id or S3."""
    return Path(spec.model.uri) if Path(spec.model.uri).is_absolute() else None


def _model(uri: str, folder: Path) -> str:
    return _absolute(uri, folder) if uri in (".", "..") or uri.startswith(("./", "../", "~/", "/")) else uri


def _absolute(uri: str, base: Path) -> str:
    return uri if "://" in uri else os.path.abspath(base / Path(uri).expanduser())


def _with(part: SomePart, **fields: object) -> SomePart:
    return part.model_copy(update=fields)
