"""The local store keeps a store's promises: under races, crashes, full disks and missing rights."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers.store_checks import CHECKS, add_mark

from limr.errors import LimrError
from limr.store import disk, local, open_store, read_uri
from limr.store.base import Entry, Store, StoreError
from limr.store.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_the_promises_of_a_store(check: Callable[[Store], None], store: LocalStore) -> None:
    check(store)


def _add_marks(root: Path, number: int) -> None:
    for turn in range(25):
        add_mark(LocalStore(root), f"{number}-{turn}")


def test_processes_write_one_object_without_loss(store: LocalStore, tmp_path: Path) -> None:
    store.put("marks", b"")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add_marks, args=(tmp_path / "store", number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(set(store.get("marks").split())) == len(store.get("marks").split()) == 100


@pytest.mark.parametrize("step", ["fsync", "link", "replace"])
def test_a_writer_killed_in_the_middle_leaves_the_old_bytes_and_no_rubbish_in_lists(
    step: str, store: LocalStore, tmp_path: Path
) -> None:
    store.put("there", b"old")
    script = (
        "import os, signal, pathlib, limr.store.local as local\n"
        f"os.{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"store = local.LocalStore(pathlib.Path({str(tmp_path / 'store')!r}))\n"
        f"store.put('there' if {step != 'link'} else 'new', b'new', if_absent={step == 'link'})\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert list(store.list()) == [Entry("there", 3)]
    assert store.get("there") == b"old"
    store.put("there", b"next")  # the dead process holds no lock
    store.put("new", b"first", if_absent=True)


def test_leftovers_of_killed_writers_go_with_a_later_upload(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"x")
    leftover = tmp_path / "store" / f"{local.TEMPORARY}dead"
    leftover.mkdir()
    (leftover / "weights").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"y")
    store.upload(tmp_path / "file", "b")
    assert leftover.exists()
    monkeypatch.setattr(local, "LEFTOVER_SECONDS", -1.0)
    store.upload(tmp_path / "file", "c")
    assert not leftover.exists()


def test_a_lock_that_is_never_given_back_is_an_error(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"x")
    monkeypatch.setattr(disk, "LOCK_SECONDS", 0.05)
    with disk.locked(tmp_path / "store" / f"{local.HIDDEN}lock"), pytest.raises(StoreError, match="another process"):
        store.put("a", b"y")


def test_a_full_disk_says_so_and_keeps_what_was_there(tiny_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(tiny_disk / "store")
    version = store.put("manifest.json", b"old")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(1 << 20))
    too_much = bytes(1 << 20)
    for write in (
        lambda: store.put("big", too_much),
        lambda: store.put("big", too_much, if_absent=True),
        lambda: store.put("manifest.json", too_much, if_match=version),
        lambda: store.upload(folder, "checkpoint"),
        lambda: store.upload(folder, "checkpoint", move=True),
    ):
        with pytest.raises(StoreError, match="the disk is full; free some space") as caught:
            write()
        assert str(tiny_disk) in str(caught.value)
    assert list(store.list()) == [Entry("manifest.json", 3)]
    assert (folder / "weights").stat().st_size == 1 << 20
    store.put("small", bytes(1000))
    with pytest.raises(StoreError, match="the disk is full"):
        LocalStore(tmp_path).download("checkpoint", tiny_disk / "restored")


def test_a_read_only_disk_can_be_read_and_says_so_when_written(tiny_disk: Path) -> None:
    store = LocalStore(tiny_disk)
    store.put("a", b"x")
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    assert store.get("a") == b"x"
    for write in (
        lambda: store.put("a", b"y"),
        lambda: store.put("b", b"y", if_absent=True),
        lambda: store.delete("a"),
    ):
        with pytest.raises(StoreError, match=r"read-only; mount it writable or choose another storage\.uri"):
            write()


def _write_as_nobody(root: Path, answers: multiprocessing.Queue[str]) -> None:
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        LocalStore(root / "below").put("a", b"x")
    except StoreError as error:
        answers.put(str(error))


def test_missing_rights_say_so(tmp_path: Path) -> None:
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(0o755)
    root = tmp_path / "locked"
    root.mkdir(mode=0o555)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=_write_as_nobody, args=(root, answers))
    process.start()
    answer = answers.get(timeout=30)
    process.join(30)
    assert "permission denied; give this user the right" in answer
    assert str(root / "below") in answer


def test_a_file_in_the_way_of_a_folder_says_so(store: LocalStore) -> None:
    store.put("a", b"x")
    with pytest.raises(StoreError, match="a part of this path is a file"):
        store.put("a/b", b"y")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/../../b", ".", f"a/{local.HIDDEN}lock"])
def test_paths_cannot_leave_the_store(path: str, store: LocalStore) -> None:
    with pytest.raises(ValueError, match="no path inside a store"):
        store.put(path, b"x")


def test_moving_between_file_systems_copies(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"data")
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if tmp_path / "store" not in Path(source).parents:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    store.upload(tmp_path / "source", "target", move=True)
    assert store.get("target/file") == b"data"
    assert not (tmp_path / "source").exists()


def test_a_local_store_tells_where_its_bytes_lie(store: LocalStore) -> None:
    store.put("a/b", b"x")
    path = store.local_path("a/b")
    assert path is not None
    assert path.read_bytes() == b"x"


def test_a_relative_uri_stays_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs")
    monkeypatch.chdir("/")
    store.put("a", b"x")
    assert store.uri == str(tmp_path / "runs")
    assert (tmp_path / "runs" / "a").read_bytes() == b"x"


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(LimrError, match=r"gs:// is not supported; write a folder or s3://bucket/prefix"):
        open_store("gs://bucket/prefix")


def test_read_uri_reads_a_file_or_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.json").write_bytes(b"[]")
    assert read_uri(str(tmp_path / "data.json")) == b"[]"
    monkeypatch.chdir(tmp_path)
    assert read_uri("data.json") == b"[]"
    for missing in (str(tmp_path / "other.json"), "other.json", str(tmp_path), "s3://bucket"):
        with pytest.raises(LimrError) as caught:
            read_uri(missing)
        assert missing in str(caught.value)


def test_a_local_store_imports_nothing_heavy() -> None:
    script = (
        "import sys, limr.store as store\n"
        "store.open_store('x')\n"
        "print([module for module in ('boto3', 'pyarrow', 'numpy') if module in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_several_remove_one_folder(tmp_path: Path) -> None:
    """As the ranks of one machine do."""
    for turn in range(5):
        folder = tmp_path / str(turn)
        for number in range(100):
            (folder / f"rank-{number}").mkdir(parents=True)
            (folder / f"rank-{number}" / "actor.bin").touch()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(disk.remove, [folder] * 8))
        assert not folder.exists()
