"""What every store promises (limr.store.base): each check gets an empty store and fails by an assertion."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from limr.store.base import Conflict, Entry, NotFound, Store

WRITERS = 8


def put_get_and_replace(store: Store) -> None:
    store.put("a/b.bin", b"one")
    assert store.get("a/b.bin") == b"one"
    store.put("a/b.bin", b"two")
    assert store.get("a/b.bin") == b"two"
    store.put("empty", b"")
    assert store.get("empty") == b""


def missing_things_are_not_found(store: Store) -> None:
    store.put("folder/file", b"x")
    for path in ("nothing", "folder/nothing", "folder"):
        with pytest.raises(NotFound) as caught:
            store.get(path)
        assert f"{store.uri}/{path}" in str(caught.value)
        with pytest.raises(NotFound):
            store.get_versioned(path)
    with TemporaryDirectory() as scratch, pytest.raises(NotFound):
        store.download("nothing", Path(scratch) / "x")


def if_absent_writes_once(store: Store) -> None:
    store.put("a", b"first", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"second", if_absent=True)
    assert store.get("a") == b"first"


def if_match_moves_on_from_the_version_read(store: Store) -> None:
    first = store.put("a", b"1")
    data, version = store.get_versioned("a")
    assert (data, version) == (b"1", first)
    second = store.put("a", b"2", if_match=version)
    assert second != first
    with pytest.raises(Conflict):
        store.put("a", b"3", if_match=first)
    assert store.get_versioned("a") == (b"2", second)
    with pytest.raises(Conflict):
        store.put("not-there", b"3", if_match=first)
    store.delete("a")
    with pytest.raises(Conflict):
        store.put("a", b"3", if_match=second)


def one_of_many_writers_is_first(store: Store) -> None:
    def write(number: int) -> bool:
        try:
            store.put("race", str(number).encode(), if_absent=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(write, range(WRITERS)))
    assert won.count(True) == 1
    assert store.get("race") == str(won.index(True)).encode()


def add_mark(store: Store, mark: str) -> None:
    """Adds a line to the object "marks" by compare-and-swap, once."""
    while True:
        data, version = store.get_versioned("marks")
        if mark.encode() in data.split(b"\n"):  # a write of ours whose answer was lost
            return
        try:
            store.put("marks", data + mark.encode() + b"\n", if_match=version)
        except Conflict:
            continue
        return


def compare_and_swap_loses_and_doubles_nothing(store: Store) -> None:
    store.put("marks", b"")
    turns = range(5)

    def write(number: int) -> None:
        for turn in turns:
            add_mark(store, f"{number}-{turn}")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    marks = store.get("marks").decode().split()
    assert sorted(marks) == sorted(f"{number}-{turn}" for number in range(WRITERS) for turn in turns)


def readers_see_whole_writes(store: Store) -> None:
    size = 1 << 20
    store.put("big", bytes([0]) * size)

    def write(number: int) -> None:
        store.put("big", bytes([number]) * size)

    with ThreadPoolExecutor(2) as pool:
        writes = [pool.submit(write, number) for number in range(1, 6)]
        while not all(future.done() for future in writes):
            data = store.get("big")
            assert len(data) == size
            assert data == data[:1] * size
        for future in writes:
            future.result()


def lists_everything_in_lexicographic_order(store: Store) -> None:
    names = ["a-b", "a/b", "a/c/d", "a.b", "a0", "b/x", "epoch=0002/step=10", "epoch=0002/step=9", "ä/ö"]
    for name in random.Random(0).sample(names, len(names)):
        store.put(name, name.encode())
    entries = [Entry(name, len(name.encode())) for name in sorted(names)]
    assert list(store.list()) == entries
    assert [entry.path for entry in store.list("a")] == ["a-b", "a.b", "a/b", "a/c/d", "a0"]
    assert [entry.path for entry in store.list("a/")] == ["a/b", "a/c/d"]
    assert [entry.path for entry in store.list("a/c")] == ["a/c/d"]
    assert [entry.path for entry in store.list("epoch=0002/step=1")] == ["epoch=0002/step=10"]
    assert list(store.list("nothing/here")) == []


def delete_removes_once_and_for_all(store: Store) -> None:
    store.put("a/b", b"x")
    store.put("a/c", b"y")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert [entry.path for entry in store.list()] == ["a/c"]
    store.put("a/b", b"again", if_absent=True)
    assert store.get("a/b") == b"again"


def folders_go_up_and_down(store: Store) -> None:
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        (source / "sub").mkdir(parents=True)
        contents = {"weights.bin": random.Random(1).randbytes(20 << 20), "sub/config.json": b"{}", "sub/empty": b""}
        for name, data in contents.items():
            (source / name).write_bytes(data)
        store.upload(source, "to/folder")
        assert source.exists()
        store.download("to/folder", Path(scratch) / "back")
        assert _contents(Path(scratch) / "back") == contents

        (source / "weights.bin").unlink()
        (source / "sub/config.json").write_bytes(b"{1}")
        store.upload(source, "to/folder", move=True)
        assert not source.exists()
        assert [entry.path for entry in store.list("to/")] == ["to/folder/sub/config.json", "to/folder/sub/empty"]
        assert store.get("to/folder/sub/config.json") == b"{1}"


def single_files_go_up_and_down(store: Store) -> None:
    with TemporaryDirectory() as scratch:
        source, back = Path(scratch) / "file", Path(scratch) / "deep" / "back"
        source.write_bytes(b"data")
        store.upload(source, "some/file")
        assert source.exists()
        source.write_bytes(b"newer")
        store.upload(source, "some/file", move=True)
        assert not source.exists()
        store.download("some/file", back)
        assert back.read_bytes() == b"newer"
        with pytest.raises(FileNotFoundError):
            store.upload(source, "some/other")


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


CHECKS = [
    put_get_and_replace,
    missing_things_are_not_found,
    if_absent_writes_once,
    if_match_moves_on_from_the_version_read,
    one_of_many_writers_is_first,
    compare_and_swap_loses_and_doubles_nothing,
    readers_see_whole_writes,
    lists_everything_in_lexicographic_order,
    delete_removes_once_and_for_all,
    folders_go_up_and_down,
    single_files_go_up_and_down,
]
