"""PPO's rewards per token and their generalized advantage estimates."""

from __future__ import annotations

import torch
from torch import Tensor

from limr.ppo.flat import last_tokens, offsets, per_token


def token_rewards(rewards: Tensor, kl: Tensor, lengths: Tensor, kl_coefficient: float, reward_clip: float) -> Tensor:
    """[N]: r_t = −β·k_t, and at a sequence's last token also clip(R, −c, c), with β = kl_coefficient, c = reward_clip.

    `rewards` [B] is R, one a sequence; `kl` [N] is k, one a token. Source: the LIMR code, as in InstructGPT
    (Ouyang et al. 2022, arXiv:2203.02155).
    """
    out = -kl_coefficient * kl
    out[last_tokens(lengths)] += rewards.clamp(-reward_clip, reward_clip).to(out.dtype)
    return out


def gae(token_rewards: Tensor, values: Tensor, lengths: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, each [N] float32; advantages are not whitened, returns are advantage + value.

    δ_t = r_t + γ·V_{t+1} − V_t and A_t = δ_t + γλ·A_{t+1}, backwards in each sequence from V_{T+1} = A_{T+1} = 0.
    Source: Schulman et al. 2016, arXiv:1506.02438, equations 12 and 16. Accumulated in float64.
    """
    values = values.double()
    next_values = torch.cat([values[1:], values.new_zeros(1)])
    next_values[last_tokens(lengths)] = 0
    deltas = token_rewards.double() + gamma * next_values - values

    # Time comes first, so that one step of the scan is one contiguous row of all sequences. Rows are zero beyond
    # a sequence's end, which is just the start that its recursion needs.
    time, sequence = offsets(lengths), per_token(torch.arange(len(lengths), device=lengths.device), lengths)
    scan = deltas.new_zeros(int(lengths.max()), len(lengths))
    scan[time, sequence] = deltas
    for t in range(len(scan) - 2, -1, -1):
        scan[t].add_(scan[t + 1], alpha=gamma * lam)
    advantages = scan[time, sequence]
    return advantages.float(), (advantages + values).float()
