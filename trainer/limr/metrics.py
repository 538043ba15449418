"""What a stage with engines shows Prometheus: its last step, and what it did since it began.

One table, `STEP_GAUGES` and what follows it, maps a step's metrics (the names in the stage's manifest) to Prometheus'.
The work is done by the scrape: a step only leaves its numbers here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from limr.exposition import Family, Metric, counter, gauge, histogram
from limr.reward.verdict import Verdict
from limr.stage import Ledger, Progress, Reporter, StageInput

STAGE = ("namespace", "experiment", "stage")

_log = logging.getLogger(__name__)

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
RATIO = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1, 1.25, 2.0)

# Step metric -> the last step's value.
STEP_GAUGES: Mapping[str, Metric] = {
    key: gauge(f"limr_{name}", help, *STAGE)
    for key, name, help in (
        ("reward_mean", "reward_mean", "Mean reward of the last step's responses."),
        ("accuracy", "correct_fraction", "Share of the last step's responses that are correct."),
        ("kl", "kl", "KL divergence from the reference policy, nats per token."),
        ("kl_max", "kl_max", "Largest log-probability ratio to the reference of any token, nats."),
        ("entropy", "entropy", "Entropy of the policy, nats per token."),
        ("approx_kl", "update_kl", "KL divergence of the policy over the step's updates, nats per token (k3)."),
        ("policy_loss", "policy_loss", "Loss of the policy over the step's updates."),
        ("clip_fraction", "clip_fraction", "Share of tokens whose ratio PPO clipped."),
        ("ratio_mean", "policy_ratio_mean", "Mean probability ratio of new to old policy in the updates."),
        ("ratio_max", "policy_ratio_max", "Largest probability ratio of new to old policy in the updates."),
        ("sampler_ratio_mean", "sampler_ratio_mean", "Mean probability ratio of learner to engine, same weights."),
        ("sampler_ratio_max", "sampler_ratio_max", "Largest probability ratio of learner to engine."),
        ("sampler_ratio_outside", "sampler_ratio_outside_fraction", "Share of tokens outside ppo.importanceClip."),
        ("logprob_gap_mean", "logprob_gap_mean", "Mean gap of log-probabilities, learner to engine, nats."),
        ("logprob_gap_max", "logprob_gap_max", "Largest gap of log-probabilities, learner to engine, nats."),
        ("value_explained_variance", "value_explained_variance", "1 - Var(returns - values) / Var(returns)."),
        ("value_loss", "value_loss", "Loss of the critic over the step's updates."),
        ("value_mean", "value_mean", "Mean value that the critic expected."),
        ("return_mean", "return_mean", "Mean return that it should have expected."),
        (
            "actor_grad_norm",
            "actor_grad_norm",
            "Norm of the policy's gradient before clipping, mean of the step's updates.",
        ),
        ("actor_learning_rate", "actor_learning_rate", "Learning rate of the policy in the last update."),
        ("response_tokens_mean", "response_tokens_mean", "Mean length of the last step's responses, tokens."),
        ("truncated_share", "truncated_fraction", "Share of the last step's responses that were cut at the limit."),
        ("tokens_per_second", "tokens_per_second", "Response tokens per second of the last step, all its parts."),
        ("policy_version_lag", "policy_version_lag", "Updates by which the sampling weights lay behind the learners'."),
        ("store_queue", "store_queue_steps", "Steps whose rows are on their way to the store."),
        ("uncommitted", "uncommitted_steps", "Steps that no checkpoint covers: what a crash would redo."),
    )
}
EVALUATION = gauge("limr_eval_accuracy", "Accuracy in the last evaluation during training.", *STAGE, "benchmark")

# Step metrics that are counted or observed, not shown as they are.
STEP_SECONDS = histogram("limr_step_seconds", "Wall time of whole steps.", SECONDS, *STAGE)
PART_SECONDS = histogram("limr_step_part_seconds", "Wall time of the parts of steps.", SECONDS, *STAGE, "part")
VERDICTS = counter("limr_verdicts_total", "Responses graded, by verdict.", *STAGE, "verdict")
RESTARTS = counter("limr_engine_restarts_total", "Engines that were lost and replaced.", *STAGE)

# One observation for each response.
RESPONSES: Mapping[str, Metric] = {
    "response_tokens": histogram("limr_response_tokens", "Length of responses.", TOKENS, *STAGE),
    "sampler_ratio": histogram(
        "limr_sampler_ratio", "Mean probability ratio of learner to engine over a response's tokens.", RATIO, *STAGE
    ),
}

# Of the attempt's progress.
INFO = gauge("limr_stage_info", "1: what this process works at.", *STAGE, "kind", "arm", "seed", "attempt")
STEP = gauge("limr_step", "Steps done; of an evaluation, models.", *STAGE)
STEP_TIME = gauge("limr_step_timestamp_seconds", "When the last step ended; before the first, when it began.", *STAGE)
CHECKPOINT_TIME = gauge(
    "limr_checkpoint_timestamp_seconds", "When the last checkpoint was made; before the first, when it began.", *STAGE
)
PART_DONE = gauge(
    "limr_step_part_done", "Responses, minibatches or updates that the current part has done.", *STAGE, "part"
)
PART_SIZE = gauge("limr_step_part_size", "Those that the current part has in all.", *STAGE, "part")
LEDGER: Mapping[str, Metric] = {
    "rollouts": counter("limr_rollouts_total", "Responses sampled by this attempt.", *STAGE),
    "prompt_tokens": counter("limr_prompt_tokens_total", "Tokens of their prompts.", *STAGE),
    "response_tokens": counter("limr_generation_tokens_total", "Tokens of the responses.", *STAGE),
    "device_seconds": counter("limr_stage_device_seconds_total", "Device-seconds that this attempt has cost.", *STAGE),
}

METRICS: tuple[Metric, ...] = (
    *(INFO, STEP, STEP_TIME, CHECKPOINT_TIME, PART_DONE, PART_SIZE, *LEDGER.values()),
    *(*STEP_GAUGES.values(), EVALUATION, *RESPONSES.values(), VERDICTS, STEP_SECONDS, PART_SECONDS, RESTARTS),
)

# Step metrics that need no metric of their own: the ledger's counters have them.
IN_LEDGER = frozenset({"rollouts", "response_tokens"})


class StageMetrics(Collector):
    """A `limr.stage.Reporter` that shows Prometheus what it passes on. `step` and scrapes come from two threads."""

    def __init__(self, stage_input: StageInput, reporter: Reporter) -> None:
        self._reporter = reporter
        metadata, stage = stage_input.experiment.metadata, stage_input.stage
        self._labels = [metadata.namespace, metadata.name, stage.name]
        seed = "" if stage.seed is None else str(stage.seed)
        self._info = [*self._labels, stage.kind.value, stage.arm or "", seed, str(stage_input.attempt)]
        self._lock = threading.Lock()
        self._step = 0
        self._checkpoint: int | None = None
        self._step_time = self._checkpoint_time = time.time()
        self._part, self._part_done, self._part_size = "", 0, 0
        self._ledger = Ledger()
        self._last: Mapping[str, float] = {}
        self._evaluations: dict[str, float] = {}
        self._verdicts = {f"verdict_{verdict.value}": 0.0 for verdict in Verdict}
        self._restarts = 0.0
        self._observed: dict[tuple[Metric, str], _Observations] = {}

    # What a stage says

    def progress(self, progress: Progress) -> None:
        with self._lock:
            now = time.time()
            if progress.step > self._step:
                self._step, self._step_time = progress.step, now
            if progress.checkpoint_step != self._checkpoint:
                self._checkpoint, self._checkpoint_time = progress.checkpoint_step, now
            self._part, self._part_done, self._part_size = progress.message, progress.part_done, progress.part_size
            self._ledger = progress.ledger
        self._reporter.progress(progress)

    def step(self, metrics: Mapping[str, float], responses: Mapping[str, Collection[float]]) -> None:
        with self._lock:
            self._last = metrics
            self._restarts = metrics.get("engine_restarts", self._restarts)
            count = len(responses["response_tokens"])
            for name in self._verdicts:
                self._verdicts[name] += round(metrics.get(name, 0.0) * count)
            for name, value in metrics.items():
                if name == "seconds_step":
                    self._observe(STEP_SECONDS, "", [value])
                elif name.startswith("seconds_"):
                    self._observe(PART_SECONDS, name.removeprefix("seconds_"), [value])
                elif name.startswith("eval_"):
                    self._evaluations[name.removeprefix("eval_")] = value
            for name, values in responses.items():
                self._observe(RESPONSES[name], "", values)
        self._reporter.step(metrics, responses)

    def beat(self) -> None:
        self._reporter.beat()

    def stop_requested(self) -> bool:
        return self._reporter.stop_requested()

    def _observe(self, metric: Metric, label: str, values: Collection[float]) -> None:
        key = (metric, label)
        if key not in self._observed:
            self._observed[key] = _Observations(metric.buckets)
        self._observed[key].add(values)

    # What a scrape sees

    def collect(self) -> Iterator[Family | HistogramMetricFamily]:
        with self._lock:
            families = [*self._of_progress(), *self._of_step(), *self._histograms()]
        yield from families

    def _of_progress(self) -> Iterator[Family]:
        yield _single(INFO, self._info, 1.0)
        yield _single(STEP, self._labels, self._step)
        yield _single(STEP_TIME, self._labels, self._step_time)
        yield _single(CHECKPOINT_TIME, self._labels, self._checkpoint_time)
        if self._part_size:
            yield _single(PART_DONE, [*self._labels, self._part], self._part_done)
            yield _single(PART_SIZE, [*self._labels, self._part], self._part_size)
        for name, metric in LEDGER.items():
            yield _single(metric, self._labels, getattr(self._ledger, name))

    def _of_step(self) -> Iterator[Family]:
        yield _single(RESTARTS, self._labels, self._restarts)
        if not self._last:
            return
        for name, metric in STEP_GAUGES.items():
            if name in self._last:
                yield _single(metric, self._labels, self._last[name])
        verdicts = VERDICTS.family()
        for name, count in self._verdicts.items():
            verdicts.add_metric([*self._labels, name.removeprefix("verdict_")], count)
        yield verdicts
        evaluations = EVALUATION.family()
        for benchmark, accuracy in self._evaluations.items():
            evaluations.add_metric([*self._labels, benchmark], accuracy)
        yield evaluations

    def _histograms(self) -> Iterator[HistogramMetricFamily]:
        families: dict[Metric, HistogramMetricFamily] = {}
        for (metric, label), observations in self._observed.items():
            family = families.setdefault(metric, metric.histogram_family())
            family.add_metric([*self._labels, *([label] if label else [])], *observations.cumulated())
        yield from families.values()


class _Observations:
    """A histogram that takes many values at once: a step has thousands of responses."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds)
        self._counts: NDArray[np.int64] = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0

    def add(self, values: Collection[float]) -> None:
        array = np.asarray(values, np.float64)
        self._counts += np.bincount(np.searchsorted(self._bounds, array, "left"), minlength=len(self._counts))
        self._sum += float(array.sum())

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        return list(zip(names, np.cumsum(self._counts).astype(float).tolist(), strict=True)), self._sum


def _single(metric: Metric, labels: Sequence[str], value: float) -> Family:
    family = metric.family()
    family.add_metric(labels, value)
    return family


@contextmanager
def served(metrics: Collector, address: str, port: int) -> Iterator[None]:
    """Answers at http://address:port/metrics. Where the port is taken it only warns: no stage fails for its metrics."""
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        _log.warning("no metrics of this stage: port %d cannot be served: %s", port, error.strerror)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
