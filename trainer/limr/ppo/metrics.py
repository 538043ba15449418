"""What a step reports about its tokens: tallies that add up over micro-batches and ranks, then metrics from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tally:
    """Sums and maxima over some tokens, float64 vectors: join them by `merge`, or all-reduce by SUM and by MAX."""

    sums: Tensor  # the count of tokens first
    maxima: Tensor


def merge(tallies: Sequence[Tally]) -> Tally:
    """One tally of all tokens, from tallies of the same kind."""
    return Tally(
        torch.stack([tally.sums for tally in tallies]).sum(dim=0),
        torch.stack([tally.maxima for tally in tallies]).amax(dim=0),
    )


def experience_tally(kl: Tensor, entropy: Tensor) -> Tally:
    """Of the responses as sampled: KL to the reference and entropy, each [N]."""
    return _tally([kl, entropy], [kl])


def experience_metrics(tally: Tally) -> dict[str, float]:
    kl, entropy = _means(tally)
    return {"kl": kl, "kl_max": float(tally.maxima[0]), "entropy": entropy}


def policy_tally(loss: Tensor, ratio: Tensor, clipped: Tensor) -> Tally:
    """Of the actor's updates: what `losses.policy_loss` returned, each [N]."""
    ratio = ratio.double()  # ρ − 1 − log ρ would lose its digits in float32
    return _tally([loss, ratio, clipped, ratio - 1 - ratio.log()], [ratio])


def policy_metrics(tally: Tally) -> dict[str, float]:
    """approx_kl is k3 of KL(old policy ‖ policy), from ρ alone: mean of ρ − 1 − log ρ."""
    loss, ratio, clipped, approx_kl = _means(tally)
    return {
        "policy_loss": loss,
        "ratio_mean": ratio,
        "ratio_max": float(tally.maxima[0]),
        "clip_fraction": clipped,
        "approx_kl": approx_kl,
    }


def sampler_tally(old_logp: Tensor, rollout_logp: Tensor, low: float, high: float) -> Tally:
    """Of the gap between learner and sampling engine on the same weights; `low` and `high` bound the correction."""
    gap = (old_logp - rollout_logp).double()
    ratio = gap.exp()
    return _tally([ratio, (ratio < low) | (ratio > high), gap.abs()], [ratio, gap.abs()])


def sampler_metrics(tally: Tally) -> dict[str, float]:
    ratio, outside, gap = _means(tally)
    return {
        "sampler_ratio_mean": ratio,
        "sampler_ratio_max": float(tally.maxima[0]),
        "sampler_ratio_outside": outside,
        "logprob_gap_mean": gap,
        "logprob_gap_max": float(tally.maxima[1]),
    }


def value_tally(loss: Tensor, values: Tensor, returns: Tensor) -> Tally:
    """Of the critic: its loss, its values and their targets, each [N]."""
    error = returns.double() - values.double()
    target = returns.double()
    return _tally([loss, error, error.square(), target, target.square()], [error.abs()])


def value_metrics(tally: Tally) -> dict[str, float]:
    """Explained variance is 1 − Var(returns − values) / Var(returns); left out when the returns do not vary."""
    loss, error, error_square, target, target_square = _means(tally)
    metrics = {"value_loss": loss, "return_mean": target, "value_mean": target - error}
    variance = target_square - target**2
    if variance > 1e-12 * target_square:
        metrics["value_explained_variance"] = 1 - (error_square - error**2) / variance
    return metrics


def _tally(summed: Sequence[Tensor], largest: Sequence[Tensor]) -> Tally:
    count = summed[0].new_tensor(summed[0].numel(), dtype=torch.float64)
    with torch.no_grad():
        return Tally(
            torch.stack([count, *(x.double().sum() for x in summed)]),
            torch.stack([x.double().max() for x in largest]),
        )


def _means(tally: Tally) -> list[float]:
    count, *sums = tally.sums.tolist()
    return [total / count for total in sums]
