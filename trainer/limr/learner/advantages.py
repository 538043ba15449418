"""Each algorithm's advantages for a step's micro-batches, with what it takes from the other ranks."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from limr.learner.batch import MicroBatch
from limr.learner.types import StepBatch
from limr.ppo import grpo, rloo
from limr.ppo.advantages import gae, token_rewards
from limr.ppo.flat import per_token
from limr.ppo.kl import kl
from limr.ppo.whitening import moments, whiten
from limr.spec import PPO, Algorithm


def assign(ppo: PPO, batch: StepBatch, micro_batches: list[MicroBatch]) -> None:
    """Sets `advantages` (and for PPO `returns`) of every micro-batch. All ranks must call it together."""
    rewards = torch.from_numpy(np.array(batch.rewards)).to(micro_batches[0].tokens.device)
    if ppo.algorithm is Algorithm.PPO:
        _from_critic(ppo, rewards, micro_batches)
    elif ppo.algorithm is Algorithm.GRPO:
        _spread(grpo.advantages(rewards, ppo.samples_per_prompt), micro_batches)
    else:
        penalised = _penalised_rewards(ppo, rewards, micro_batches)
        _spread(rloo.advantages(penalised, ppo.samples_per_prompt), micro_batches)


def _from_critic(ppo: PPO, rewards: torch.Tensor, micro_batches: list[MicroBatch]) -> None:
    for micro in micro_batches:
        penalty = kl(micro.old_logprobs, micro.reference_logprobs, ppo.kl_estimator)
        mine = rewards[micro.indices]
        per_step = token_rewards(mine, penalty, micro.lengths, ppo.kl_coefficient, ppo.reward_clip)
        micro.advantages, micro.returns = gae(per_step, micro.values, micro.lengths, ppo.gamma, ppo.gae_lambda)
    if ppo.whiten_advantages:
        summed = torch.stack([moments(micro.advantages) for micro in micro_batches]).sum(0)
        dist.all_reduce(summed)
        for micro in micro_batches:
            micro.advantages = whiten(micro.advantages, summed)


def _penalised_rewards(ppo: PPO, rewards: torch.Tensor, micro_batches: list[MicroBatch]) -> torch.Tensor:
    """[B], the same on every rank: a prompt's samples may lie on different ones, but are compared with each other."""
    every = torch.zeros_like(rewards)
    for micro in micro_batches:
        penalty = kl(micro.old_logprobs, micro.reference_logprobs, ppo.kl_estimator)
        mine = rewards[micro.indices]
        every[micro.indices] = rloo.penalised_rewards(mine, penalty, micro.lengths, ppo.kl_coefficient, ppo.reward_clip)
    dist.all_reduce(every)
    return every


def _spread(advantages: torch.Tensor, micro_batches: list[MicroBatch]) -> None:
    for micro in micro_batches:
        micro.advantages = per_token(advantages[micro.indices], micro.lengths)
