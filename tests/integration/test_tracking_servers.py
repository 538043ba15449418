"""Trackers with a server: MLflow's own, and servers that fail. All of it on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from servers.broken_http import broken_server
from servers.mlflow_server import MlflowServer
from tracking_lab import STAGE, STEPS, Points, TrackedStage, tensorboard_points, wandb_points

from limr.cli import limr
from limr.tracking import reporter, to_mlflow, to_wandb, worker
from limr.validate import load

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ALL = [(step, float(step)) for step in range(1, STEPS + 1)]
API_KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end, also on a machine that is busy with something else."""
    monkeypatch.setattr(reporter, "CLOSE_SECONDS", 240.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


def mlflow_points(uri: str, experiment: str, name: str = "reward/mean") -> Points:
    """Of the one run in the experiment, in the order of their times."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    history = sorted(client.get_metric_history(run.info.run_id, name), key=lambda metric: metric.timestamp)
    return [(metric.step, metric.value) for metric in history]


def track(stage: TrackedStage) -> str:
    """What `limr track` prints, given the resource as a cluster stores it."""
    file = stage.folder / "experiment.json"
    file.write_text(json.dumps({**stage.manifest, "status": {"phase": "Complete"}}))
    assert load(file)
    result = CliRunner().invoke(limr, ["track", str(file)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_stage_that_crashed_is_one_run_with_each_step_once(server: MlflowServer, tmp_path: Path) -> None:
    stage = TrackedStage(tmp_path, {"kind": "mlflow", "trackingUri": server.uri, "experiment": "crashes"})
    stage.attempt(until=3)
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("crashes").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FAILED"]
    stage.attempt(until=5)
    stage.attempt()
    (run,) = client.search_runs([experiment])
    assert mlflow_points(server.uri, "crashes") == ALL
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"demo/{STAGE}"
    assert {"limr.arm": "lim", "limr.seed": "1", "limr.kind": "Training"}.items() <= run.data.tags.items()
    assert run.data.params["ppo.promptsPerStep"] == "1024"


def test_a_server_that_dies_in_the_middle_is_told_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.1)
    server = MlflowServer(tmp_path)
    stage = TrackedStage(tmp_path / "runs", {"kind": "mlflow", "trackingUri": server.uri})
    with server:
        stage.attempt(until=2)
    stage.attempt(until=5)  # steps 3 to 5 find nobody
    (warning,) = (line.getMessage() for line in caplog.records if line.name.startswith("limr"))
    assert "`limr track` sends what is missing" in warning
    with server:
        assert mlflow_points(server.uri, "demo") == ALL[:2]
        stage.attempt()
        assert mlflow_points(server.uri, "demo") == ALL


def test_what_was_missed_to_the_end_is_sent_by_a_command(tmp_path: Path) -> None:
    server = MlflowServer(tmp_path)
    stage = TrackedStage(tmp_path / "runs", {"kind": "mlflow", "trackingUri": server.uri}, {"kind": "tensorboard"})
    stage.attempt()
    with server:
        assert f"{STAGE}: mlflow: {STEPS} of {STEPS} steps sent" in track(stage)
        assert f"{STAGE}: mlflow: 0 of {STEPS} steps sent" in track(stage)
        assert mlflow_points(server.uri, "demo") == ALL
    assert tensorboard_points(stage.tracking / "tensorboard", "reward/mean") == ALL


def test_a_stage_that_is_not_finished_is_left_to_its_next_attempt(tmp_path: Path) -> None:
    stage = TrackedStage(tmp_path, {"kind": "tensorboard"})
    stage.attempt(until=4)
    assert f"{STAGE}: is not finished" in track(stage)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_an_mlflow_that_fails_costs_a_warning(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(to_mlflow.ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with broken_server(how) as uri:
        stage = TrackedStage(tmp_path, {"kind": "mlflow", "trackingUri": uri}, {"kind": "tensorboard"})
        stage.attempt()
    assert tensorboard_points(stage.tracking / "tensorboard", "reward/mean") == ALL
    said = [line.getMessage() for line in caplog.records if line.getMessage().startswith("mlflow: ")]
    assert len(said) == 1


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_wandb_that_fails_leaves_a_folder(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(to_wandb, "BEGIN_SECONDS", 3.0)
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    with broken_server(how) as url:
        stage = TrackedStage(tmp_path, {"kind": "wandb", "baseUrl": url})
        stage.attempt()
    assert wandb_points(stage.tracking / "wandb", "reward/mean") == ALL
    assert ["going on offline" in line.getMessage() for line in caplog.records if line.name == to_wandb.__name__] == [
        True
    ]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and API_KEY.encode() in file.read_bytes()]
    assert API_KEY not in caplog.text


def test_a_wandb_without_a_key_leaves_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody has logged in there
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with broken_server("refuses") as url:
        stage = TrackedStage(tmp_path / "runs", {"kind": "wandb", "baseUrl": url})
        stage.attempt()
    assert wandb_points(stage.tracking / "wandb", "reward/mean") == ALL
