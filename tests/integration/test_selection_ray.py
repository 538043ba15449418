"""Summing trajectories on a local Ray cluster gives what one process gives, and the same sentences for mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limr.errors import LimrError
from limr.selection.sources import read_trajectories

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    for step in range(1, 12):
        rows = 50
        table = pa.table(
            {
                "prompt": [f"question {number}" for number in rng.integers(0, 30, rows)],
                "step": pa.array(np.full(rows, step)),
                "reward": pa.array(rng.choice([1.0, -0.5, 0.1], rows)),
            }
        )
        pq.write_table(table, tmp_path / f"{step:02}.parquet")
    return tmp_path


def test_the_sums_are_the_same(ray: None, folder: Path) -> None:
    from limr.selection import distributed

    alone = read_trajectories(str(folder), steps_per_epoch=3, keep_texts=True)
    shared = read_trajectories(str(folder), steps_per_epoch=3, keep_texts=True, summing=distributed.summed)
    assert shared.matrix.prompt_ids == alone.matrix.prompt_ids
    np.testing.assert_array_equal(shared.matrix.correct, alone.matrix.correct)
    np.testing.assert_array_equal(shared.matrix.total, alone.matrix.total)
    np.testing.assert_allclose(shared.matrix.reward_sum, alone.matrix.reward_sum, rtol=1e-12)
    assert shared.texts == alone.texts


def test_mistakes_come_through(ray: None, folder: Path) -> None:
    from limr.selection import distributed

    (folder / "07.parquet").write_bytes(b"no parquet")
    with pytest.raises(LimrError, match=r"^.*07.parquet: is no readable Parquet file") as caught:
        read_trajectories(str(folder), steps_per_epoch=3, summing=distributed.summed)
    assert "Traceback" not in str(caught.value)
