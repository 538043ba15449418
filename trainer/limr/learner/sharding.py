"""How training state is spread over files, whoever wrote them and whoever reads them. Arithmetic, without I/O.

A rank owns one range of elements of each flattened parameter: which one depends on the ZeRO stage and on the number of
ranks. It writes what it owns to files of its own, with an index that says which range lies where. So a rank of another
layout finds what it owns in the files of several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from limr.errors import LimrError
from limr.stage import Document
from limr.store.digest import FileRecord

FORMAT = 1
TENSORS = ("master", "exp_avg", "exp_avg_sq")  # of each element: the weight and Adam's two moments, float32
ITEM_BYTES = 4
ELEMENT_BYTES = len(TENSORS) * ITEM_BYTES
# Files are read whole, so that their digests prove what was read: small enough that little is read in vain.
FILE_BYTES = 256 << 20


_INDEX = re.compile(r"rank-\d+/\w+\.json")


class Range(NamedTuple):
    """Elements [start, stop) of a flattened parameter."""

    start: int
    stop: int


class Piece(Document):
    """Elements [start, stop) of `parameter`: each of TENSORS in turn, from byte `offset` of `file` on."""

    parameter: str
    start: int
    stop: int
    file: str
    offset: int

    def position(self, tensor: int, element: int) -> int:
        """Byte of the file at which `element` of the parameter's TENSORS[tensor] begins."""
        return self.offset + (tensor * (self.stop - self.start) + element - self.start) * ITEM_BYTES


class StateIndex(Document):
    """What lies in the files of one rank, or of several, for one model."""

    format: int = FORMAT
    updates_done: int  # also Adam's step count
    shapes: Mapping[str, tuple[int, ...]]  # of all parameters of the model
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Source:
    """Elements [start, stop) of a parameter are to be read from `piece`."""

    piece: Piece
    start: int
    stop: int


def rank_folder(rank: int) -> str:
    """Folder of a rank's files in a checkpoint."""
    return f"rank-{rank:05d}"


def index_paths(records: Iterable[FileRecord], where: str) -> list[str]:
    """The indexes among a checkpoint's files. Raises LimrError when it has none, so that its format is another."""
    found = [record.path for record in records if _INDEX.fullmatch(record.path)]
    if not found:
        raise unreadable(where)
    return found


def lay_out(owned: Mapping[str, Range], prefix: str, file_bytes: int = FILE_BYTES) -> tuple[Piece, ...]:
    """Spreads what a rank owns over files "<prefix>-<number>.bin" of at most `file_bytes`."""
    pieces: list[Piece] = []
    number = offset = 0
    for parameter, (start, stop) in owned.items():
        while start < stop:
            room = (file_bytes - offset) // ELEMENT_BYTES
            if not room:
                number, offset = number + 1, 0
                continue
            end = min(stop, start + room)
            file = f"{prefix}-{number:05d}.bin"
            pieces.append(Piece(parameter=parameter, start=start, stop=end, file=file, offset=offset))
            offset += (end - start) * ELEMENT_BYTES
            start = end
    return tuple(pieces)


def merge(indexes: Mapping[str, StateIndex]) -> StateIndex:
    """One index for the files of all ranks; the keys are the folders of the ranks, which the files' paths then have.

    Raises ValueError when the indexes are not of one checkpoint.
    """
    for one, other in pairwise(indexes.values()):
        if (one.updates_done, one.shapes) != (other.updates_done, other.shapes):
            raise ValueError(f"the indexes {sorted(indexes)} are of different checkpoints")
    first = next(iter(indexes.values()))
    pieces = tuple(
        piece.model_copy(update={"file": f"{folder}/{piece.file}"})
        for folder, index in indexes.items()
        for piece in index.pieces
    )
    return first.model_copy(update={"pieces": pieces})


def sources(index: StateIndex, owned: Mapping[str, Range]) -> dict[str, list[Source]]:
    """Where to read each owned range, parts in ascending order. Raises ValueError when elements are in no file."""
    by_parameter: dict[str, list[Piece]] = {}
    for piece in index.pieces:
        by_parameter.setdefault(piece.parameter, []).append(piece)
    return {parameter: _cover(parameter, owned[parameter], by_parameter.get(parameter, [])) for parameter in owned}


def _cover(parameter: str, owned: Range, pieces: Sequence[Piece]) -> list[Source]:
    found = []
    start = owned.start
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if piece.start <= start < min(piece.stop, owned.stop):
            stop = min(piece.stop, owned.stop)
            found.append(Source(piece, start, stop))
            start = stop
    if start < owned.stop:
        raise ValueError(f"elements {start} to {owned.stop} of {parameter} are in no file of the checkpoint")
    return found


def files_needed(index: StateIndex, owned: Mapping[str, Range]) -> set[str]:
    return {source.piece.file for parts in sources(index, owned).values() for source in parts}


def assign(needed: Sequence[Iterable[str]], machines: Sequence[str]) -> list[list[str]]:
    """Which files each rank is to fetch, when rank i needs `needed[i]` and runs on `machines[i]`.

    Ranks of one machine share a folder: a file comes to it once, through the least busy rank among those that need it.
    """
    wanting: dict[tuple[str, str], list[int]] = {}
    for rank, (files, machine) in enumerate(zip(needed, machines, strict=True)):
        for file in files:
            wanting.setdefault((machine, file), []).append(rank)
    assigned: list[list[str]] = [[] for _ in machines]
    for (_, file), ranks in sorted(wanting.items()):
        min((assigned[rank] for rank in ranks), key=len).append(file)
    return assigned


def check_model(index: StateIndex, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raises LimrError when the state in `where` is not that of a model with these parameters."""
    for name in sorted(index.shapes.keys() | shapes.keys()):
        saved, loaded = index.shapes.get(name), shapes.get(name)
        if saved != loaded:
            raise LimrError(
                f"{where}: this checkpoint is of another model: parameter {name} has {_shape(saved)} in the checkpoint "
                f"and {_shape(loaded)} in spec.model.uri; set the model that the stage began with, or remove the "
                "stage's folder to begin it anew"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "no values" if shape is None else f"shape {list(shape)}"


def unreadable(where: str) -> LimrError:
    return LimrError(
        f"{where}: this checkpoint was written by another version of limr, in a format that this one does not read; "
        "finish the experiment with that version, or remove the stage's folder to begin it anew"
    )
