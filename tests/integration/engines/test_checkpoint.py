"""Training state of real learners: the same bits for the same ranks, the same losses for any others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from engines import learner_group, ray_cluster, trained
from servers.s3_server import S3Server

from limr.errors import LimrError
from limr.learner.group import LearnerGroup
from limr.scratch import ScratchFull
from limr.store import digest, open_store
from limr.store.digest import FileRecord

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

# 24 responses and updates of 12 divide by 1, 2 and 3 ranks.
DIVISIBLE = {"promptsPerStep": 6, "trainBatchSize": 12, "microBatchSize": 4, "packing": False}
LOSSES = ("policy_loss", "value_loss", "kl", "entropy", "return_mean")


@pytest.fixture(scope="module", autouse=True)
def ray_running(s3_server: S3Server) -> Iterator[None]:
    """Started after the server, so that learners have its credentials."""
    with ray_cluster():
        yield


def saved(group: LearnerGroup, folder: Path, path: str) -> tuple[FileRecord, ...]:
    files = group.save(folder, path).files(300)
    assert files is not None
    return files


def restored(group: LearnerGroup, folder: Path, path: str, records: tuple[FileRecord, ...]) -> None:
    assert group.fetch(folder, path, records)
    group.restore(folder)


@pytest.mark.parametrize(
    ("replicas", "dtype", "zero"),
    [
        (1, "float32", 1),
        pytest.param(2, "bfloat16", 3, marks=pytest.mark.nightly),
        pytest.param(2, "float32", 3, marks=pytest.mark.nightly),
        pytest.param(2, "float32", 2, marks=pytest.mark.nightly),
        pytest.param(2, "bfloat16", 1, marks=pytest.mark.nightly),
        pytest.param(2, "bfloat16", 2, marks=pytest.mark.nightly),
    ],
)
def test_the_same_ranks_go_on_with_the_same_bits(replicas: int, dtype: str, zero: int, tmp_path: Path) -> None:
    settings = {"dtype": dtype, "zeroStage": zero, "microBatchSize": 16, "packing": False}
    with closing(learner_group(replicas, root=str(tmp_path / "store"), **settings)) as group:
        trained(group, range(1, 2))
        records = saved(group, tmp_path / "scratch", "checkpoint")
        expected = trained(group, range(2, 4))
        weights = group.export(tmp_path / "export", "expected")
    with closing(learner_group(replicas, root=str(tmp_path / "store"), **settings)) as group:
        restored(group, tmp_path / "scratch", "checkpoint", records)
        assert saved(group, tmp_path / "again", "again") == records
        assert trained(group, range(2, 4)) == expected
        assert group.export(tmp_path / "export", "again") == weights
    assert "model.safetensors" in [record.path for record in weights]


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_ranks_and_zero_stages_go_on_with_the_same_losses(
    dtype: str, s3_server: S3Server, s3_uri: str, tmp_path: Path
) -> None:
    """2 → 1 → 3 learners, ZeRO-2 → ZeRO-3 → ZeRO-3, by way of a real S3 server."""
    place = {"root": s3_uri, "endpoint": s3_server.endpoint, "dtype": dtype}
    expected = []
    with closing(learner_group(1, **place, **DIVISIBLE, zeroStage=1)) as group:
        expected = trained(group, range(1, 7), 24)
    metrics, records = [], ()
    for turn, (replicas, zero) in enumerate([(2, 2), (1, 3), (3, 3)]):
        with closing(learner_group(replicas, **place, **DIVISIBLE, zeroStage=zero)) as group:
            if turn:
                folder = tmp_path / f"restored-{turn}"
                restored(group, folder, f"turn-{turn - 1}", records)
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                assert sum(group.bytes_fetched.values()) == size == sum(record.size for record in records)
            metrics += trained(group, range(2 * turn + 1, 2 * turn + 3), 24)
            records = saved(group, tmp_path / f"saved-{turn}", f"turn-{turn}")
    accuracy = 1e-5 if dtype == "float32" else 0.05
    for want, got in zip(expected, metrics, strict=True):
        for name in LOSSES:
            assert got[name] == pytest.approx(want[name], rel=accuracy, abs=accuracy), name


def test_a_machine_reads_what_its_ranks_need_and_refuses_what_is_not_theirs(
    s3_server: S3Server, s3_uri: str, tmp_path: Path, tiny_disk: Path
) -> None:
    place = {"root": s3_uri, "endpoint": s3_server.endpoint}
    with closing(learner_group(2, **place, **DIVISIBLE, zeroStage=3)) as group:
        trained(group, range(1, 2), 24)
        records = saved(group, tmp_path / "saved", "state")
        indexes = sum(record.size for record in records if record.path.endswith(".json"))
        shares = [
            sum(record.size for record in records if record.path.startswith(rank) and record.path.endswith(".bin"))
            for rank in ("rank-00000/", "rank-00001/")
        ]
        expected = trained(group, range(2, 3), 24)
        group._machines = ["one", "other"]  # as if each rank had a machine of its own
        restored(group, tmp_path / "restored", "state", records)
        assert trained(group, range(2, 3), 24) == expected
        assert group.bytes_fetched == {"one": shares[0] + indexes, "other": shares[1] + indexes}
        _damaged_file_does_not_verify(group, s3_server, s3_uri, tmp_path, records)
        _index_of_another_model_is_refused(group, s3_server, s3_uri, tmp_path, records)
        with pytest.raises(ScratchFull, match=f"{tiny_disk}/step-1/rank-0000[01]: .* spec.cluster.scratch"):
            group.hold(tiny_disk / "step-1")
        with pytest.raises(ScratchFull, match=f"{tiny_disk}/restored: .* spec.cluster.scratch"):
            group.fetch(tiny_disk / "restored", "state", records)


def _damaged_file_does_not_verify(
    group: LearnerGroup, s3_server: S3Server, s3_uri: str, tmp_path: Path, records: tuple[FileRecord, ...]
) -> None:
    store = open_store(s3_uri, s3_server.endpoint)
    path = "state/rank-00001/critic-00000.bin"
    data = bytearray(store.get(path))
    data[100] ^= 1
    store.put(path, bytes(data))
    assert not group.fetch(tmp_path / "restored", "state", records)
    store.delete(path)
    assert not group.fetch(tmp_path / "restored", "state", records)
    data[100] ^= 1
    store.put(path, bytes(data))


def _index_of_another_model_is_refused(
    group: LearnerGroup, s3_server: S3Server, s3_uri: str, tmp_path: Path, records: tuple[FileRecord, ...]
) -> None:
    store = open_store(s3_uri, s3_server.endpoint)
    changed = []
    for record in records:
        if record.path.endswith("actor.json"):
            index = json.loads(store.get(f"state/{record.path}"))
            name = next(iter(index["shapes"]))
            index["shapes"][name] = [1, 1]
            data = json.dumps(index).encode()
            store.put(f"other/{record.path}", data)
            record = FileRecord(path=record.path, size=len(data), digest=digest.of_bytes(data))
        elif record.path.endswith(".json"):
            store.put(f"other/{record.path}", store.get(f"state/{record.path}"))
        changed.append(record)
    with pytest.raises(LimrError, match=rf"{s3_uri}/other: .* of another model: parameter .* has shape \[1, 1\]"):
        group.fetch(tmp_path / "restored", "other", tuple(changed))
