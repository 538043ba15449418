"""Whether the files on this machine that an experiment names are there and can be read as what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from limr import dataset
from limr.errors import LimrError
from limr.spec import Experiment, Spec
from limr.validate.mistake import Mistake
from limr.validate.paths import local_files, model_folder


def missing_files(experiment: Experiment) -> Iterator[Mistake]:
    """Of an experiment whose paths are resolved."""
    spec = experiment.spec
    folder = model_folder(spec)
    if folder is not None:
        yield from _model_problems(folder)
    for field, path in local_files(spec):
        problem = _file_problem(path)
        if problem:
            yield Mistake(field, problem)
        elif field == "spec.dataset.uri":
            yield from _dataset_problems(spec, path)


def _model_problems(folder: Path) -> Iterator[Mistake]:
    if not folder.is_dir():
        yield Mistake(
            "spec.model.uri", f"there is no directory {folder}; correct the path, or write a hub id or s3://…"
        )
    elif not (folder / "config.json").is_file():
        yield Mistake(
            "spec.model.uri", f"{folder} has no config.json; write a directory with a model in Hugging Face form"
        )


def _file_problem(path: Path) -> str | None:
    if path.is_dir():
        return f"{path} is a directory; write the path of a file"
    if not path.exists():
        return f"there is no file {path}; correct the path"
    return None


def _dataset_problems(spec: Spec, path: Path) -> Iterator[Mistake]:
    source = spec.dataset
    try:
        rows = len(dataset.parse(path.read_bytes(), str(path), source.prompt_field, source.answer_field).prompts)
    except LimrError as error:
        yield Mistake("spec.dataset.uri", str(error))
        return
    except OSError as error:
        yield Mistake("spec.dataset.uri", f"{path} cannot be read: {error.strerror}; give this user the right to it")
        return
    for index, arm in enumerate(spec.arms):
        if arm.size and arm.size.count and arm.size.count > rows:
            message = f"is {arm.size.count}, but {path} has {rows} prompts; write at most {rows}"
            yield Mistake(f"spec.arms[{index}].size.count", message)
