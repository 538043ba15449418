"""What trackers call the metrics of a step: the part before the slash is the group they are drawn in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

# Metric in the manifest -> its name in a tracker.
NAMES: Mapping[str, str] = {
    "reward_mean": "reward/mean",
    "accuracy": "reward/accuracy",
    "kl": "kl/reference",
    "kl_max": "kl/reference_max",
    "approx_kl": "kl/update",
    "entropy": "policy/entropy",
    "policy_loss": "policy/loss",
    "clip_fraction": "policy/clip_fraction",
    "ratio_mean": "policy/ratio_mean",
    "ratio_max": "policy/ratio_max",
    "actor_grad_norm": "policy/grad_norm",
    "actor_learning_rate": "policy/learning_rate",
    "value_explained_variance": "value/explained_variance",
    "value_loss": "value/loss",
    "value_mean": "value/mean",
    "return_mean": "value/return_mean",
    "sampler_ratio_mean": "sampler/ratio_mean",
    "sampler_ratio_max": "sampler/ratio_max",
    "sampler_ratio_outside": "sampler/ratio_outside",
    "logprob_gap_mean": "sampler/logprob_gap_mean",
    "logprob_gap_max": "sampler/logprob_gap_max",
    "response_tokens_mean": "response/tokens_mean",
    "truncated_share": "response/truncated",
    "tokens_per_second": "speed/tokens_per_second",
    "rollouts": "cost/rollouts",
    "response_tokens": "cost/response_tokens",
}
GROUPS = ("verdict", "eval", "seconds")  # verdict_wrong -> verdict/wrong

# How the process stands, which the manifest does not keep; Prometheus shows it.
OF_THE_MOMENT = frozenset({"step", "policy_version_lag", "engine_restarts", "store_queue", "uncommitted"})


def tracker_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """A step's metrics under their names in trackers, without what is no number."""
    return {name: value for name, value in _named(metrics) if math.isfinite(value)}


def _named(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        group, _, rest = name.partition("_")
        if name in NAMES:
            yield NAMES[name], value
        elif group in GROUPS:
            yield f"{group}/{rest}", value
        elif name not in OF_THE_MOMENT:
            yield f"other/{name}", value
