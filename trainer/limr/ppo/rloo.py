"""RLOO: REINFORCE whose baseline is the mean of the other responses to the prompt; the KL is a part of the reward.

Source: Ahmadian et al. 2024, "Back to Basics", arXiv:2402.14740. Deviations: docs/formulas.md.
"""

from __future__ import annotations

from torch import Tensor

from limr.ppo.flat import sum_per_sequence


def penalised_rewards(
    rewards: Tensor, kl: Tensor, lengths: Tensor, kl_coefficient: float, reward_clip: float
) -> Tensor:
    """[B]: clip(R, −c, c) − β·Σ_t k_t. The whole response is one action, so its KL is the sum over its tokens [N]."""
    penalty = kl_coefficient * sum_per_sequence(kl, lengths)
    return (rewards.double().clamp(-reward_clip, reward_clip) - penalty).float()


def advantages(rewards: Tensor, group: int) -> Tensor:
    """[B] → [B]: r_i − mean of r_j over the other j of its `group` consecutive responses, those of one prompt."""
    groups = rewards.double().view(-1, group)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (group - 1)
    return (groups - others).flatten().float()
