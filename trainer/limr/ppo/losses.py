"""Losses of policy and critic per token, and their sum over a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from limr.ppo.kl import MAX_LOG_RATIO


def policy_loss(
    logp: Tensor, old_logp: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Per token [N]: the loss, the ratio ρ (detached), and whether a clip made the loss blind to ρ.

    −min(ρÂ, clip(ρ, 1 − clip_low, 1 + clip_high)·Â) with ρ = exp(logp − old_logp), the difference kept within ±20;
    with a dual clip c, tokens with Â < 0 lose at most −cÂ.
    Sources: Schulman et al. 2017, arXiv:1707.06347; clip-higher: Yu et al. 2025, arXiv:2503.14476; dual clip: Ye et
    al. 2020, arXiv:1912.09729.
    """
    ratio = (logp - old_logp).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    free = ratio * advantages
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    gain = torch.minimum(free, bounded)
    clipped = bounded < free
    if dual_clip is not None:
        floor = dual_clip * advantages
        too_low = (advantages < 0) & (gain < floor)
        gain = torch.where(too_low, floor, gain)
        clipped = clipped | too_low
    return -gain, ratio.detach(), clipped


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """Per token [N]: ½·max[(V − Ret)², (clip(V, V_old ± ε) − Ret)²], with ε = `clip`; None leaves ½·(V − Ret)².

    Source: the LIMR code, as in OpenAI's PPO (github.com/openai/baselines, ppo2).
    """
    error = (values - returns).square()
    if clip is not None:
        near_old = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near_old - returns).square())
    return error / 2


def importance_weights(old_logp: Tensor, rollout_logp: Tensor, low: float, high: float) -> Tensor:
    """Per token [N], detached: clip(exp(old_logp − rollout_logp), low, high), to multiply the policy loss with.

    It mends that the sampling engine's probabilities differ a little from the learner's, which took `old_logp` on the
    same weights. Source: truncated importance sampling, Yao et al. 2025,
    https://fengyao.notion.site/off-policy-rl.
    """
    return (old_logp - rollout_logp).detach().exp().clamp(low, high)


def aggregate(loss: Tensor, total_tokens: float, mean_per_microbatch: bool = False) -> Tensor:
    """A micro-batch's share of the batch's loss: Σ loss / total_tokens, the response tokens of the *global* batch.

    Added over all micro-batches of all ranks it is the mean over tokens, however they were dealt out.
    With `mean_per_microbatch` (compat: paper) it is this micro-batch's own mean, which the caller averages over
    micro-batches and ranks; a token then weighs more in company of few.
    """
    return loss.mean() if mean_per_microbatch else loss.sum() / total_tokens
