"""Names in the store, and the manifest's changes and bytes."""

from __future__ import annotations

import math

import pytest

from limr.errors import LimrError
from limr.spec import Experiment
from limr.stage import Ledger
from limr.store import layout
from limr.store.digest import FileRecord
from limr.store.manifest import CheckpointRecord, Manifest, StepRecord, parse, rounded


def _experiment(uri: str, **metadata: str) -> Experiment:
    return Experiment.model_validate(
        {
            "metadata": {"name": "qwen-math", **metadata},
            "spec": {"model": {"uri": "m"}, "dataset": {"uri": "d"}, "storage": {"uri": uri}},
        }
    )


def test_names_below_an_experiment_and_a_stage() -> None:
    assert _experiment("runs").root == "runs/default/qwen-math"
    assert (
        _experiment("s3://rl/x/", namespace="team", uid="0123456789ab-cdef").root == "s3://rl/x/team/qwen-math-01234567"
    )
    assert layout.trajectories(2, 3, 25) == "attempt-2/trajectories/epoch=0003/step=000025.parquet"
    assert layout.texts(2, 3, 25) == "attempt-2/texts/epoch=0003/step=000025.parquet"
    assert layout.checkpoint(2, 160) == "checkpoints/attempt-2/step=000160"
    assert layout.product(2, "model") == "attempt-2/model"
    assert layout.in_stage("probe", layout.MANIFEST) == "probe/manifest.json"


def test_a_path_tells_the_attempt_that_owns_it() -> None:
    assert layout.attempt_of(layout.trajectories(12, 1, 1)) == 12
    assert layout.attempt_of(layout.checkpoint(7, 1) + "/weights") == 7
    for path in (layout.MANIFEST, layout.SCORES, "attempt-x/y", "other/attempt-1/y"):
        assert layout.attempt_of(path) is None


def _manifest(steps: int = 0, every: int = 2) -> Manifest:
    manifest = Manifest(stage="probe", attempt=1, writer="a")
    for step in range(1, steps + 1):
        record = StepRecord(step=step, epoch=1, attempt=1, path=f"{step}", rows=8, digest="d", metrics={"loss": 0.5})
        checkpoint = CheckpointRecord(
            step=step,
            attempt=1,
            path=f"c{step}",
            digest="d",
            files=(FileRecord(path="w", size=1, digest="d"),),
            ledger=Ledger(rollouts=8 * step),
        )
        due = checkpoint if step % every == 0 else None
        manifest = manifest.advanced([record], due, Ledger(rollouts=8 * step), keep=2)
    return manifest


def test_a_manifest_survives_as_bytes() -> None:
    metrics = {"nan": math.nan, "inf": math.inf, "loss": 0.1}
    record = StepRecord(step=1, epoch=1, attempt=1, path="p", rows=1, digest="d", metrics=metrics)
    manifest = _manifest().advanced([record], None, Ledger(), keep=2)
    back = parse(manifest.to_json().encode(), "x")
    assert math.isnan(back.steps[0].metrics["nan"])
    assert back.steps[0].metrics["inf"] == math.inf
    assert back.to_json() == manifest.to_json()
    assert '"nan":"NaN"' in manifest.to_json()  # any JSON reader takes it
    assert parse(_manifest(5).to_json().encode(), "x") == _manifest(5)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"stage": "probe"}', _manifest(1).to_json().encode() + b"x"])
def test_an_unreadable_manifest_says_which_and_what_to_do(data: bytes) -> None:
    with pytest.raises(LimrError, match=r"s3://b/probe/manifest\.json: is no readable manifest .*; restore the file"):
        parse(data, "s3://b/probe/manifest.json")


def test_a_claim_begins_at_the_last_checkpoint() -> None:
    claimed = _manifest(steps=5).claimed(3, "b")
    assert [record.step for record in claimed.steps] == [1, 2, 3, 4]
    assert [record.step for record in claimed.checkpoints] == [2, 4]
    assert claimed.ledger == Ledger(rollouts=32)
    assert (claimed.attempt, claimed.writer) == (3, "b")
    assert claimed.claimed(3, "b").to_json() != claimed.to_json()
    assert _manifest(steps=1).claimed(2, "b").steps == ()


def test_rewinding_and_keeping_checkpoints() -> None:
    manifest = _manifest(steps=7)
    assert [record.step for record in manifest.checkpoints] == [4, 6]
    rewound = manifest.rewound(1)
    assert (rewound.last_step, rewound.ledger) == (4, Ledger(rollouts=32))
    assert manifest.rewound(0).files() == set()
    assert rewound.files() == {"1", "2", "3", "4", "c4/w"}


def test_metrics_have_six_digits() -> None:
    assert rounded({"a": 1 / 3, "b": 123456789.0, "c": 2}) == {"a": 0.333333, "b": 123457000.0, "c": 2.0}
    assert math.isnan(rounded({"a": math.nan})["a"])
