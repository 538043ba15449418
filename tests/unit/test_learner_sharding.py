"""Training state that some ranks wrote, read by others: the arithmetic, for any model, layout and file size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.errors import LimrError
from limr.learner.sharding import (
    ELEMENT_BYTES,
    TENSORS,
    Range,
    StateIndex,
    assign,
    check_model,
    files_needed,
    index_paths,
    lay_out,
    merge,
    rank_folder,
    sources,
)
from limr.store.digest import FileRecord

Layout = list[dict[str, Range]]  # what each rank owns

models = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 60), min_size=1)
file_sizes = st.integers(ELEMENT_BYTES, 40 * ELEMENT_BYTES)


def by_parameter(model: Mapping[str, int], ranks: int) -> Layout:
    """As ZeRO-3 deals out: an equal part of each parameter, the last ones short or empty."""
    parts = {name: math.ceil(size / ranks) for name, size in model.items()}
    return [
        {
            name: Range(rank * parts[name], min((rank + 1) * parts[name], size))
            for name, size in model.items()
            if rank * parts[name] < size
        }
        for rank in range(ranks)
    ]


def flattened(model: Mapping[str, int], ranks: int) -> Layout:
    """As ZeRO-1 and 2 deal out: an equal part of the vector of all parameters."""
    part = math.ceil(sum(model.values()) / ranks)
    layout: Layout = [{} for _ in range(ranks)]
    for (name, size), begin in zip(model.items(), itertools.accumulate(model.values(), initial=0), strict=False):
        for rank, owned in enumerate(layout):
            start, stop = max(rank * part, begin), min((rank + 1) * part, begin + size)
            if start < stop:
                owned[name] = Range(start - begin, stop - begin)
    return layout


layouts = st.tuples(st.sampled_from([by_parameter, flattened]), st.integers(1, 6))


def state_of(model: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Different numbers everywhere: [tensors, elements] of each parameter."""
    count = itertools.count()
    return {
        name: np.array([[next(count) for _ in range(size)] for _ in TENSORS], np.float32)
        for name, size in model.items()
    }


def written(state: Mapping[str, np.ndarray], layout: Layout, file_bytes: int) -> tuple[StateIndex, dict[str, bytes]]:
    """The merged index and the files that the ranks write."""
    indexes, files = {}, {}
    for rank, owned in enumerate(layout):
        pieces = lay_out(owned, "actor", file_bytes)
        shapes = {name: tensors.shape[1:] for name, tensors in state.items()}
        indexes[rank_folder(rank)] = StateIndex(updates_done=7, shapes=shapes, pieces=pieces)
        for piece in pieces:
            path = f"{rank_folder(rank)}/{piece.file}"
            assert len(files.get(path, b"")) == piece.offset
            files[path] = files.get(path, b"") + state[piece.parameter][:, piece.start : piece.stop].tobytes()
    return merge(indexes), files


@given(model=models, writers=layouts, readers=layouts, file_bytes=file_sizes)
def test_any_ranks_read_what_any_ranks_wrote(
    model: dict[str, int], writers: tuple, readers: tuple, file_bytes: int
) -> None:
    state = state_of(model)
    index, files = written(state, writers[0](model, writers[1]), file_bytes)
    assert max(map(len, files.values())) <= file_bytes
    assert sum(map(len, files.values())) == ELEMENT_BYTES * sum(model.values()), "nothing is written twice"
    for owned in readers[0](model, readers[1]):
        for name, parts in sources(index, owned).items():
            for number in range(len(TENSORS)):
                read = [
                    np.frombuffer(
                        files[part.piece.file],
                        np.float32,
                        part.stop - part.start,
                        part.piece.position(number, part.start),
                    )
                    for part in parts
                ]
                assert np.array_equal(np.concatenate(read), state[name][number, slice(*owned[name])])


@given(model=models, layout=layouts, file_bytes=file_sizes)
def test_an_unchanged_layout_reads_its_own_files_only(model: dict[str, int], layout: tuple, file_bytes: int) -> None:
    owned = layout[0](model, layout[1])
    index, files = written(state_of(model), owned, file_bytes)
    for rank, own in enumerate(owned):
        assert files_needed(index, own) == {path for path in files if path.startswith(rank_folder(rank) + "/")}


def test_elements_that_no_file_has_are_missed() -> None:
    index, _ = written(state_of({"a": 10}), by_parameter({"a": 10}, 2)[:1], 1000)
    with pytest.raises(ValueError, match="elements 5 to 10 of a are in no file"):
        sources(index, {"a": Range(0, 10)})


def test_indexes_of_two_checkpoints_do_not_go_together() -> None:
    one = StateIndex(updates_done=1, shapes={"a": (1,)}, pieces=())
    with pytest.raises(ValueError, match="different checkpoints"):
        merge({"rank-00000": one, "rank-00001": one.model_copy(update={"updates_done": 2})})


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdefgh")), st.sampled_from("xy")), min_size=1, max_size=6))
def test_each_machine_fetches_each_file_that_its_ranks_need_once(ranks: list[tuple[set[str], str]]) -> None:
    needed, machines = [files for files, _ in ranks], [machine for _, machine in ranks]
    assigned = assign(needed, machines)
    assert all(set(files) <= wanted for files, wanted in zip(assigned, needed, strict=True))
    for machine in "xy":
        fetched = [file for files, at in zip(assigned, machines, strict=True) if at == machine for file in files]
        wanted = {file for files, at in ranks if at == machine for file in files}
        assert sorted(fetched) == sorted(wanted)


def test_files_that_many_ranks_need_are_spread_over_them() -> None:
    assert [len(files) for files in assign([list("abcdefgh")] * 4, ["x"] * 4)] == [2, 2, 2, 2]


def test_a_checkpoint_of_another_model_is_refused() -> None:
    index = StateIndex(updates_done=1, shapes={"a": (4, 2), "b": (3,)}, pieces=())
    check_model(index, {"b": (3,), "a": (4, 2)}, "here")
    with pytest.raises(LimrError, match=r"here: .* another model: parameter a has shape \[4, 2\] .* and shape \[8\]"):
        check_model(index, {"a": (8,), "b": (3,)}, "here")
    with pytest.raises(LimrError, match=r"parameter c has no values in the checkpoint and shape \[1\] in spec.model"):
        check_model(index, {"a": (4, 2), "b": (3,), "c": (1,)}, "here")


def test_a_checkpoint_of_another_format_is_refused() -> None:
    records = [
        FileRecord(path=path, size=1, digest="sha256:0") for path in ("rank-00000/actor.json", "rank-00000/x.bin")
    ]
    assert index_paths(records, "here") == ["rank-00000/actor.json"]
    deepspeed = [FileRecord(path="actor/state/mp_rank_00_model_states.pt", size=1, digest="sha256:0")]
    with pytest.raises(LimrError, match="here: this checkpoint was written by another version of limr"):
        index_paths(deepspeed, "here")
