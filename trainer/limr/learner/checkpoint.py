"""Training state in files, in a form that knows neither ranks nor ZeRO stages: see `limr.learner.sharding`.

A checkpoint is a folder with one folder for each rank, "rank-00003", and in it for each model an index, "actor.json",
and files of raw little-endian float32. Every random draw of a run is made from (seed, step), so weights, Adam's moments
and the count of updates are all there is to save.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from limr.errors import LimrError
from limr.learner.fragments import Fragments, fragments, set_adam_steps
from limr.learner.sharding import (
    ELEMENT_BYTES,
    FORMAT,
    TENSORS,
    Range,
    Source,
    StateIndex,
    check_model,
    files_needed,
    lay_out,
    merge,
    sources,
    unreadable,
)

_FLOAT = np.dtype("<f4")


class ModelState:
    """The training state of one model, a trained DeepSpeed engine, on this rank. `model` names it in the files."""

    def __init__(self, engine: Any, model: str) -> None:
        self._engine = engine
        self._model = model
        self._fragments: Fragments = fragments(engine)

    @property
    def size(self) -> int:
        """Bytes of the files that `save` writes, without the index."""
        return ELEMENT_BYTES * sum(stop - start for start, stop in self._fragments.owned.values())

    def save(self, folder: Path, updates_done: int) -> None:
        """Writes what this rank owns to files in `folder`."""
        pieces = lay_out(self._fragments.owned, self._model)
        for parameter, group in groupby(pieces, key=lambda piece: piece.parameter):
            start = self._fragments.owned[parameter].start
            tensors = [self._fragments.read(parameter, tensor) for tensor in TENSORS]
            for piece in group:
                with (folder / piece.file).open("ab") as file:
                    for tensor in tensors:
                        part = tensor[piece.start - start : piece.stop - start]
                        file.write(part.numpy().astype(_FLOAT, copy=False).data)
        index = StateIndex(updates_done=updates_done, shapes=self._fragments.shapes, pieces=pieces)
        (folder / f"{self._model}.json").write_text(index.to_json())

    def files_needed(self, folder: Path, where: str) -> set[str]:
        """Which files of the checkpoint, of which `folder` has the indexes, hold what this rank owns.

        Raises LimrError when the checkpoint `where` cannot be that of this model.
        """
        return files_needed(self._index(folder, where), self._fragments.owned)

    def restore(self, folder: Path) -> int:
        """Takes what this rank owns from the files in `folder`; returns the updates done. All ranks must call it."""
        index = self._index(folder, str(folder))
        for parameter, parts in sources(index, self._fragments.owned).items():
            owned = self._fragments.owned[parameter]
            for number, tensor in enumerate(TENSORS):
                self._fragments.write(parameter, tensor, _read(folder, number, parts, owned))
        set_adam_steps(self._engine, index.updates_done)
        self._fragments.refresh()
        return index.updates_done

    def _index(self, folder: Path, where: str) -> StateIndex:
        files = sorted(folder.glob(f"rank-*/{self._model}.json"))
        if not files:
            raise LimrError(
                f"{where}: this checkpoint has no {self._model}; set spec.ppo.algorithm to the one that the stage "
                "began with, or remove the stage's folder to begin it anew"
            )
        index = merge({file.parent.name: _parse(file, where) for file in files})
        check_model(index, self._fragments.shapes, where)
        return index


def _read(folder: Path, tensor: int, parts: Sequence[Source], owned: Range) -> Tensor:
    """The owned elements of TENSORS[tensor] of a parameter."""
    values = np.empty(owned.stop - owned.start, _FLOAT)
    for part in parts:
        offset = part.piece.position(tensor, part.start)
        read = np.fromfile(folder / part.piece.file, _FLOAT, part.stop - part.start, offset=offset)
        values[part.start - owned.start : part.stop - owned.start] = read
    return torch.from_numpy(values)


def _parse(file: Path, where: str) -> StateIndex:
    try:
        index = StateIndex.model_validate_json(file.read_bytes())
    except ValidationError:
        raise unreadable(where) from None
    if index.format != FORMAT:
        raise unreadable(where)
    return index
