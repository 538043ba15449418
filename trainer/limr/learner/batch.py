"""How a step's responses are dealt out over optimizer updates, ranks and forward passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limr.learner.layout import Layout, lay_out
from limr.learner.types import StepBatch
from limr.ppo.micro_batches import balance, plan


@dataclass
class MicroBatch:
    """b responses that go through the models together; tensors are flat over their n response tokens."""

    layout: Layout
    indices: Tensor  # int64 [b], in the step's batch
    lengths: Tensor  # int64 [b], of the responses
    tokens: Tensor  # int64 [n]
    rollout_logprobs: Tensor  # [n]
    # What Learner.measure fixes before the weights move:
    old_logprobs: Tensor
    reference_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


@dataclass(frozen=True)
class Minibatch:
    """This rank's part of one optimizer update."""

    micro_batches: list[MicroBatch]
    total_tokens: int  # response tokens of the update over all ranks


@dataclass(frozen=True)
class Division:
    """How a step's responses are dealt out. The updates' contents depend on `size` and `seed` only."""

    size: int  # responses per update, over all ranks
    micro_size: int
    packed: bool
    seed: int
    rank: int
    ranks: int
    device: torch.device

    def minibatches(self, batch: StepBatch) -> list[Minibatch]:
        """The step's optimizer updates, a random partition of its responses."""
        order = np.random.default_rng([self.seed, batch.step]).permutation(len(batch.rewards))
        updates = [order[start : start + self.size] for start in range(0, len(order), self.size)]
        texts = _Texts(batch)
        return [
            Minibatch(
                [self._micro_batch(texts, indices) for indices in self._micro_indices(texts, update)],
                int(batch.response_lengths[update].sum()),
            )
            for update in updates
        ]

    def _micro_indices(self, texts: _Texts, update: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        mine = update[balance(texts.lengths[update].tolist(), self.ranks)[self.rank]]
        return [mine[part] for part in plan(texts.lengths[mine].tolist(), self.micro_size, self.packed)]

    def _micro_batch(self, texts: _Texts, indices: NDArray[np.int64]) -> MicroBatch:
        lengths = torch.from_numpy(texts.batch.response_lengths[indices].astype(np.int64))
        responses = [texts.response(index) for index in indices]
        nothing = torch.empty(0, device=self.device)
        return MicroBatch(
            layout=lay_out([texts.whole(index) for index in indices], lengths, self.packed, self.device),
            indices=torch.from_numpy(indices),
            lengths=lengths.to(self.device),
            tokens=torch.cat([texts.tokens[span] for span in responses]).to(self.device),
            rollout_logprobs=torch.cat([texts.logprobs[span] for span in responses]).to(self.device),
            old_logprobs=nothing,
            reference_logprobs=nothing,
            values=nothing,
            advantages=nothing,
            returns=nothing,
        )


class _Texts:
    """A step's token arrays, cut by response."""

    def __init__(self, batch: StepBatch) -> None:
        self.batch = batch
        self.lengths = batch.prompt_lengths + batch.response_lengths
        self.tokens = torch.from_numpy(batch.response_tokens.astype(np.int64))
        self.logprobs = torch.from_numpy(batch.rollout_logprobs.copy())
        self._prompts = torch.from_numpy(batch.prompt_tokens.astype(np.int64))
        self._prompt_ends = np.cumsum(batch.prompt_lengths)
        self._response_ends = np.cumsum(batch.response_lengths)

    def response(self, index: int) -> slice:
        return slice(self._response_ends[index] - self.batch.response_lengths[index], self._response_ends[index])

    def whole(self, index: int) -> Tensor:
        start = self._prompt_ends[index] - self.batch.prompt_lengths[index]
        return torch.cat([self._prompts[start : self._prompt_ends[index]], self.tokens[self.response(index)]])
