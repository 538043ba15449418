"""GRPO: a response is compared with the other responses to its prompt; the KL is a part of the loss.

Source: Shao et al. 2024, "DeepSeekMath", arXiv:2402.03300, section 4.1. Deviations: docs/formulas.md.
"""

from __future__ import annotations

from torch import Tensor

from limr.ppo.kl import kl


def advantages(rewards: Tensor, group: int) -> Tensor:
    """[B] → [B]: (r − mean) / (std + 10⁻⁴) within each `group` consecutive responses, those of one prompt.

    The standard deviation is the sample's (÷ group − 1), as in every implementation in use; the paper does not say.
    A group of equal rewards gets exactly 0: float64 holds the sum of equal float32 exactly, hence their mean.
    """
    groups = rewards.double().view(-1, group)
    centred = groups - groups.sum(dim=1, keepdim=True) / group
    return (centred / (groups.std(dim=1, keepdim=True) + 1e-4)).flatten().float()


def kl_loss(logp: Tensor, ref_logp: Tensor, kl_coefficient: float) -> Tensor:
    """[N]: β·k3, to be added to the policy loss of each token; its gradient flows through `logp`.

    Always k3 (equation 4 of the paper): k1's gradient has mean zero, so in a loss it would only add noise.
    """
    return kl_coefficient * kl(logp, ref_logp, "k3")
