"""What a stage shows Prometheus of what it says."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pytest
from chart.metrics_page import PAGE, text
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from limr import validate
from limr.exposition import Type
from limr.metrics import IN_LEDGER, METRICS, RESPONSES, STEP_GAUGES, StageMetrics, _Observations, served
from limr.reward.verdict import Verdict
from limr.stage import Ledger, Progress, StageInput, StageKind, StageRef

EXPERIMENT = {
    "apiVersion": "limr.dev/v1alpha1",
    "kind": "LIMRExperiment",
    "metadata": {"name": "demo", "namespace": "research"},
    "spec": {"model": {"uri": "m"}, "dataset": {"uri": "d.json"}},
}
MEASURED = dict.fromkeys(STEP_GAUGES, 0.5) | {
    **{"verdict_correct": 0.5, "verdict_wrong": 0.25, "verdict_timeout": 0.25, "verdict_format": 0.0},
    **{"seconds_step": 3.0, "seconds_generation": 1.0, "seconds_training": 2.0, "eval_sums": 0.7},
    **{"engine_restarts": 1.0, "rollouts": 4.0, "response_tokens": 40.0},
}
ANSWERS = {"response_tokens": np.array([3, 8, 9, 20], np.int32), "sampler_ratio": np.ones(4, np.float32)}
# A step as a stage's manifest has it: of the probe of examples/arithmetic on the test node, with an evaluation.
RECORDED: dict[str, float] = json.loads((Path(__file__).parents[1] / "recorded_step.json").read_text())
# Verdicts have series from the beginning.
SHOWN_AS_ZERO = {f"verdict_{verdict.value}" for verdict in Verdict if not RECORDED[f"verdict_{verdict.value}"]}
WHERE = {"namespace": "research", "experiment": "demo", "stage": "train-lim-s1"}


class Listener:
    """Whoever started the stage."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def progress(self, progress: Progress) -> None:
        self.heard.append(progress)

    def step(self, metrics: Mapping[str, float], responses: Mapping[str, Collection[float]]) -> None:
        self.heard.append((metrics, responses))

    def beat(self) -> None:
        self.heard.append("beat")

    def stop_requested(self) -> bool:
        return True


def stage_metrics(listener: Listener | None = None) -> StageMetrics:
    stage = StageRef(name="train-lim-s1", kind=StageKind.TRAINING, arm="lim", seed=1)
    experiment = validate.from_manifest(EXPERIMENT)
    return StageMetrics(StageInput(experiment=experiment, stage=stage, attempt=2, root="r"), listener or Listener())


def samples(metrics: StageMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels beyond those of the stage) -> value, as a scrape reads the page."""
    registry = CollectorRegistry()
    registry.register(metrics)
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            assert WHERE.items() <= sample.labels.items(), sample
            found[sample.name, frozenset(sample.labels.items() - WHERE.items())] = sample.value
    return found


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_every_metric_of_the_table_is_there_after_a_step() -> None:
    metrics = stage_metrics()
    metrics.progress(Progress(updated_at=0, message="training", part_done=12, part_size=32))
    metrics.step(MEASURED, ANSWERS)
    registry = CollectorRegistry()
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    shown = {family.name: (family.type, family.documentation) for family in families if family.samples}
    wanted = {metric.name.removesuffix("_total"): (metric.type.value, metric.help) for metric in METRICS}
    assert shown == wanted


@pytest.mark.parametrize("name", sorted(RECORDED.keys() - IN_LEDGER))
def test_every_number_of_a_real_step_is_shown(name: str) -> None:
    without = {key: value for key, value in RECORDED.items() if key != name}
    assert shown_after(RECORDED) != shown_after(without) or name in SHOWN_AS_ZERO


def shown_after(step: Mapping[str, float]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    metrics = stage_metrics()
    metrics.step(step, ANSWERS)
    return {key: value for key, value in samples(metrics).items() if not key[0].endswith("_timestamp_seconds")}


def test_a_number_without_a_metric_would_be_noticed() -> None:
    assert shown_after({**RECORDED, "novelty": 1.0}) == shown_after(RECORDED)


def test_before_the_first_step_it_shows_what_it_is_and_no_curves() -> None:
    shown = samples(stage_metrics())
    assert shown["limr_stage_info", labels(kind="Training", arm="lim", seed="1", attempt="2")] == 1
    assert shown["limr_step", labels()] == 0
    assert not any(name == "limr_reward_mean" for name, _ in shown)


def test_steps_add_up() -> None:
    metrics = stage_metrics()
    metrics.step(MEASURED, ANSWERS)
    metrics.step({**MEASURED, "reward_mean": 0.75, "seconds_step": 4.0}, ANSWERS)
    shown = samples(metrics)
    assert shown["limr_reward_mean", labels()] == 0.75
    assert shown["limr_verdicts_total", labels(verdict="correct")] == 4
    assert shown["limr_verdicts_total", labels(verdict="timeout")] == 2
    assert shown["limr_verdicts_total", labels(verdict="error")] == 0
    assert shown["limr_step_seconds_sum", labels()] == 7
    assert shown["limr_step_part_seconds_count", labels(part="training")] == 2
    assert shown["limr_response_tokens_bucket", labels(le="8")] == 4
    assert shown["limr_response_tokens_bucket", labels(le="16")] == 6
    assert shown["limr_response_tokens_sum", labels()] == 80
    assert shown["limr_engine_restarts_total", labels()] == 1
    assert shown["limr_eval_accuracy", labels(benchmark="sums")] == 0.7


def test_a_metric_that_the_step_has_not_is_absent() -> None:
    metrics = stage_metrics()
    metrics.step({name: value for name, value in MEASURED.items() if name != "kl"}, ANSWERS)
    assert ("limr_kl", labels()) not in samples(metrics)


def test_times_move_with_steps_and_checkpoints_only() -> None:
    metrics = stage_metrics()
    step_time, checkpoint_time = (f"limr_{what}_timestamp_seconds" for what in ("step", "checkpoint"))
    began = samples(metrics)
    metrics.progress(Progress(updated_at=time.time(), message="generation"))
    assert samples(metrics)[step_time, labels()] == began[step_time, labels()]
    metrics.progress(Progress(updated_at=time.time(), step=1, ledger=Ledger(rollouts=8, device_seconds=2.5)))
    stepped = samples(metrics)
    assert stepped["limr_step", labels()] == 1
    assert stepped[step_time, labels()] > began[step_time, labels()]
    assert stepped[checkpoint_time, labels()] == began[checkpoint_time, labels()]
    assert stepped["limr_rollouts_total", labels()] == 8
    assert stepped["limr_stage_device_seconds_total", labels()] == 2.5
    metrics.progress(Progress(updated_at=time.time(), step=1, checkpoint_step=1))
    saved = samples(metrics)
    assert saved[checkpoint_time, labels()] > began[checkpoint_time, labels()]


def test_what_it_hears_it_passes_on() -> None:
    listener = Listener()
    metrics = stage_metrics(listener)
    said = Progress(updated_at=1.0)
    metrics.progress(said)
    metrics.step(MEASURED, ANSWERS)
    metrics.beat()
    assert listener.heard == [said, (MEASURED, ANSWERS), "beat"]
    assert metrics.stop_requested()


@given(some.lists(some.lists(some.floats(-10, 1e6), max_size=20), max_size=5), some.sampled_from(list(RESPONSES)))
def test_a_histogram_counts_what_lies_at_or_below_each_bound(steps: list[list[float]], name: str) -> None:
    observed = _Observations(RESPONSES[name].buckets)
    for values in steps:
        observed.add(values)
    buckets, total = observed.cumulated()
    everything = [value for values in steps for value in values]
    assert [count for _, count in buckets] == [sum(v <= float(bound) for v in everything) for bound, _ in buckets]
    assert total == pytest.approx(sum(everything))


def test_it_is_served_while_the_stage_works() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/metrics"
    with served(stage_metrics(), "127.0.0.1", port):
        page = urllib.request.urlopen(url, timeout=10).read().decode()
        with served(stage_metrics(), "127.0.0.1", port):  # taken: the stage goes on without
            pass
    assert 'limr_step{experiment="demo",namespace="research",stage="train-lim-s1"} 0.0' in page
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_names_say_what_they_are() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.startswith("limr_")
        assert metric.name.endswith("_total") is (metric.type is Type.COUNTER)
    assert not IN_LEDGER & STEP_GAUGES.keys()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == text(), "run: make chart-docs"
