"""The scratch folder: where it is, what stays of earlier attempts, and what is said when it is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from limr import scratch
from limr.scratch import ScratchFull, room_for
from limr.store.base import StoreError
from limr.store.digest import FileRecord, of_bytes
from limr.store.folders import fetch
from limr.store.local import LocalStore


@pytest.fixture
def volume(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(scratch.VARIABLE, str(tiny_disk))
    return tiny_disk


def test_an_attempt_removes_what_earlier_ones_of_its_stage_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(scratch.VARIABLE, str(tmp_path))
    first, second, third = (scratch.folder_name("s3://bucket/run/probe", attempt) for attempt in (1, 2, 10))
    other = scratch.claim(scratch.folder_name("s3://bucket/run/train-lim-s1", 1))
    for name in (first, third):
        (scratch.claim(name) / "state.bin").write_bytes(b"x")
    scratch.claim(second)
    assert sorted(path.name for path in (tmp_path / first.parent).iterdir()) == ["attempt-10", "attempt-2"]
    scratch.release(second)
    scratch.release(third)
    assert list(tmp_path.iterdir()) == [other.parent]


def test_what_does_not_fit_is_refused_before_it_is_written(volume: Path) -> None:
    with pytest.raises(ScratchFull) as caught, room_for(1 << 20, volume / "step-3"):
        raise AssertionError("there is no room")
    assert str(caught.value).startswith(f"{volume}/step-3: 1,048,576 bytes of scratch space are needed here and 2")
    assert "give spec.cluster.scratch more room" in str(caught.value)


def test_a_volume_that_fills_while_it_is_written_says_the_same(volume: Path, tmp_path: Path) -> None:
    """Ranks of one machine share it: each may have found room."""
    data = bytes(200 << 10)

    def write() -> None:
        with room_for(len(data), volume / "a"):
            (volume / "beside").write_bytes(data)
            (volume / "a" / "state.bin").write_bytes(data)

    with pytest.raises(ScratchFull, match=f"{volume}/a: 204,800 bytes of scratch space are needed"):
        write()
    (volume / "a" / "state.bin").unlink()
    store = LocalStore(tmp_path / "store")
    store.put("step/state.bin", data)
    record = FileRecord(path="state.bin", size=len(data), digest=of_bytes(data))
    with pytest.raises(ScratchFull, match=r"spec\.cluster\.scratch"), room_for(1, volume / "a"):
        fetch(store, "step", [record], volume / "a")


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    for failure in (StoreError("no such bucket"), PermissionError(13, "denied")):
        with pytest.raises(type(failure)), room_for(1, tmp_path):
            raise failure
