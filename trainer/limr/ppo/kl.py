"""Estimators of KL(policy ‖ reference) from tokens that the policy sampled.

Source: J. Schulman, "Approximating KL Divergence" (2020), http://joschu.net/blog/kl-approx.html. LIMR ran with k1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

# e^20 ≈ 5·10^8: a ratio beyond it says no more than that, and float32 would overflow at e^89.
MAX_LOG_RATIO = 20.0


def kl(logp: Tensor, ref_logp: Tensor, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    """[N], with d = logp − ref_logp: k1 = d; k2 = d²/2; k3 = e^(−d) − 1 + d.

    k1 and k3 have the KL as their mean, k2 only nearly; k2 and k3 are never negative. k3 takes d within ±20.
    """
    d = logp - ref_logp
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d.square() / 2
    d = d.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return torch.expm1(-d) + d  # e^(−d) − 1 would lose all digits of a small d
