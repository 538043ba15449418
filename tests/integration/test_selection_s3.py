"""Trajectories in a real S3 server read as from a folder, and a selection can be written there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from servers.s3_server import S3Server

from limr.errors import LimrError
from limr.selection import output
from limr.selection.run import select
from limr.selection.sources import read_trajectories
from limr.spec import Strategy
from limr.store import open_store

pytestmark = pytest.mark.integration

STEPS = 4


def step_files(folder: Path) -> None:
    rng = np.random.default_rng(4)
    folder.mkdir()
    for step in range(1, STEPS + 1):
        rows = [{"prompt": f"q{n}", "reward": float(r)} for n in range(9) for r in rng.choice([1.0, -0.5], 4)]
        (folder / f"step_{step}.json").write_text(json.dumps(rows))


def test_s3_reads_like_a_folder(s3_server: S3Server, s3_uri: str, tmp_path: Path) -> None:
    step_files(tmp_path / "steps")
    store = open_store(f"{s3_uri}/runs", s3_server.endpoint)
    store.upload(tmp_path / "steps", "steps")
    local = read_trajectories(str(tmp_path / "steps"), steps_per_epoch=1)
    remote = read_trajectories(f"{s3_uri}/runs/steps", endpoint=s3_server.endpoint, steps_per_epoch=1)
    assert remote.matrix.prompt_ids == local.matrix.prompt_ids
    np.testing.assert_array_equal(remote.matrix.correct, local.matrix.correct)

    selection = select(remote, Strategy(threshold=-9))
    target = open_store(f"{s3_uri}/selected", s3_server.endpoint)
    output.write(output.files(selection), target)
    assert sorted(entry.path for entry in target.list()) == ["scores.parquet", "subset.parquet", "summary.json"]
    assert json.loads(target.get("summary.json"))["selected"] == selection.summary["selected"]

    with pytest.raises(LimrError, match=r"nothing: there is no training to read"):
        read_trajectories(f"{s3_uri}/nothing", endpoint=s3_server.endpoint)
    with pytest.raises(LimrError, match=r"gone.jsonl: there is no such file"):
        read_trajectories(f"{s3_uri}/gone.jsonl", endpoint=s3_server.endpoint)
