"""One learner: a rank of the actor, the critic and the frozen reference, in a process of its own.

A step has two halves, each of them many short calls, so that its driver hears of progress and can stop between two.
The first fixes what must not move while the weights do: old log-probabilities, reference log-probabilities, values,
advantages. The second makes the step's optimizer updates. All ranks must make the same calls together: ZeRO gathers
and reduces inside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from limr.learner import advantages
from limr.learner.batch import Division, MicroBatch, Minibatch
from limr.learner.checkpoint import ModelState
from limr.learner.finite import FiniteChecks
from limr.learner.layout import lay_out
from limr.learner.models import Critic, Policy, load_backbone, load_language_model
from limr.learner.process_group import free_address, join
from limr.learner.sharding import rank_folder
from limr.learner.types import LearnerSettings, Measured, StepBatch
from limr.learner.upload import Upload
from limr.learner.weights import WeightSender, export_weights
from limr.learner.zero import ZeroSettings, frozen, sharded_loading, trained, whole_bytes
from limr.model_files import local_model
from limr.ppo.grpo import kl_loss
from limr.ppo.losses import aggregate, importance_weights, policy_loss, value_loss
from limr.ppo.metrics import (
    Tally,
    experience_metrics,
    experience_tally,
    merge,
    policy_metrics,
    policy_tally,
    sampler_metrics,
    sampler_tally,
    value_metrics,
    value_tally,
)
from limr.ppo.schedule import learning_rate_factor
from limr.rollout.proof import Checksums
from limr.scratch import claim, room_for
from limr.spec import Algorithm
from limr.store import disk, open_store
from limr.store.base import Store
from limr.store.digest import FileRecord
from limr.store.folders import fetch, send
from limr.tensors import WeightChunk
from limr.topology import DeviceKind, Rank


class Learner:
    def __init__(self, settings: LearnerSettings, kind: DeviceKind) -> None:
        self._settings = settings
        self._ppo = settings.ppo
        self._kind = kind
        self._minibatches: list[Minibatch] = []
        self._tallies = _Tallies([], [], [], [])
        self._updates_done = 0
        self._step = 0
        self._uploads = Upload()

    def free_address(self) -> tuple[str, int]:
        return free_address()

    def machine(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def start(self, rank: Rank, address: tuple[str, int]) -> None:
        """Meets the other ranks at `address` and loads the models."""
        self._rank, self._ranks = rank.number, rank.total
        self._scratch = claim(self._settings.scratch)
        self._device = join(rank, self._kind, address, self._settings.deadline_seconds)
        if self._device.type == "cpu":
            torch.set_flush_denormal(True)  # denormals in Adam's state make CPU steps many times slower
        self._division = Division(
            size=self._ppo.train_batch_size,
            micro_size=self._ppo.micro_batch_size,
            packed=self._ppo.packing,
            seed=self._settings.seed,
            rank=self._rank,
            ranks=self._ranks,
            device=self._device,
        )
        self._finite = FiniteChecks(self._rank, self._ranks, self._device)
        self._build()

    def _build(self) -> None:
        settings, ppo = self._settings, self._ppo
        zero = ZeroSettings(ppo.zero_stage, settings.dtype, settings.offload_optimizer)
        source = (local_model(settings.model, settings.endpoint), settings.revision, settings.dtype)
        config = zero.config(ppo, ppo.actor_learning_rate)
        loading = sharded_loading(config)  # must outlive the loading below
        lm = load_language_model(*source)
        if ppo.gradient_checkpointing:
            lm.gradient_checkpointing_enable()
        self._actor = trained(Policy(lm), config)
        self._sender = WeightSender(lm, self._device)
        self._reference = None
        if ppo.kl_coefficient > 0:  # else nothing would look at it, and a third of the memory is spared
            self._reference = frozen(Policy(load_language_model(*source)), zero.config(ppo, None), self._device)
        self._critic = None
        if ppo.algorithm is Algorithm.PPO:
            backbone = load_backbone(*source)
            if ppo.gradient_checkpointing:
                backbone.gradient_checkpointing_enable()
            self._critic = trained(Critic(backbone, settings.seed), zero.config(ppo, ppo.critic_learning_rate))
        del loading

    # The two halves of a step

    def begin_step(self, batch: StepBatch) -> int:
        """Takes the step's responses. Returns the number of minibatches, the same on every rank."""
        self._step = batch.step
        self._minibatches = self._division.minibatches(batch)
        self._batch = batch
        for engine in self._engines():
            engine.eval()
        return len(self._minibatches)

    def measure_minibatch(self, index: int) -> None:
        """Fixes what the models say about minibatch `index` before the step's updates."""
        with torch.no_grad():
            for micro in self._minibatches[index].micro_batches:
                micro.old_logprobs, _ = self._logprobs(self._actor, micro)
                micro.reference_logprobs = micro.old_logprobs
                if self._reference is not None:
                    micro.reference_logprobs, _ = self._logprobs(self._reference, micro)
                if self._critic is not None:
                    micro.values = self._critic(micro.layout)
                self._finite.add("the log-probability of a response", micro.old_logprobs)
                self._finite.add("the reference's log-probability of a response", micro.reference_logprobs)
                self._finite.add("the sampler's log-probability of a response", micro.rollout_logprobs)
                self._finite.add("the value of a response", micro.values)

    def finish_measuring(self) -> Measured:
        """Fixes the advantages, after every minibatch was measured. Raises NonFinite when something was not finite."""
        self._finite.agree(f"at step {self._step}, before its updates")
        advantages.assign(self._ppo, self._batch, list(self._micro_batches()))
        low, high = self._ppo.importance_clip or (0.0, float("inf"))
        tallies = [
            sampler_tally(micro.old_logprobs, micro.rollout_logprobs, low, high) for micro in self._micro_batches()
        ]
        indices, means, maxima = zip(*map(_ratios, self._micro_batches()), strict=True)
        return Measured(
            indices=np.concatenate(indices),
            ratio_mean=np.concatenate(means),
            ratio_max=np.concatenate(maxima),
            metrics=sampler_metrics(_over_ranks(tallies)),
        )

    def begin_updates(self) -> int:
        """Returns the number of the step's optimizer updates, the same on every rank."""
        for engine in self._engines():
            engine.train()
        self._tallies = _Tallies([], [], [], [])
        return len(self._minibatches) * self._ppo.update_epochs

    def update(self, index: int) -> None:
        """Makes optimizer update `index` of the step; each epoch goes through all minibatches.

        Raises NonFinite when a loss or gradient was not finite.
        """
        minibatch = self._minibatches[index % len(self._minibatches)]
        self._updates_done += 1
        self._set_learning_rates()
        self._update_actor(minibatch, self._tallies)
        if self._critic is not None:
            self._update_critic(minibatch, self._tallies)
        self._tallies.grad_norms.append(self._check_update(index + 1))

    def finish_updates(self) -> dict[str, float]:
        """Ends the step. Returns metrics over all ranks' response tokens. Raises NonFinite when a weight is not."""
        self._finite.check_weights(self._modules(), f"after step {self._step}")
        tallies, self._minibatches = self._tallies, []
        result = experience_metrics(_over_ranks(tallies.experience)) | policy_metrics(_over_ranks(tallies.policy))
        if self._reference is None:
            result = {name: value for name, value in result.items() if name not in ("kl", "kl_max")}
        if tallies.value:
            result |= value_metrics(_over_ranks(tallies.value))
        result["actor_grad_norm"] = float(np.mean(tallies.grad_norms))
        result["actor_learning_rate"] = self._actor.optimizer.param_groups[0]["lr"]
        return result

    def _update_actor(self, minibatch: Minibatch, tallies: _Tallies) -> None:
        ppo = self._ppo
        for micro, last in _with_last(minibatch.micro_batches):
            logprobs, entropy = self._logprobs(self._actor, micro, with_entropy=True)
            assert entropy is not None
            loss, ratio, clipped = policy_loss(
                logprobs, micro.old_logprobs, micro.advantages, ppo.clip_low, ppo.clip_high, ppo.dual_clip
            )
            tallies.policy.append(policy_tally(loss.detach(), ratio, clipped))
            tallies.experience.append(experience_tally(micro.old_logprobs - micro.reference_logprobs, entropy))
            if ppo.importance_clip is not None and ppo.compat != "paper":
                loss = loss * importance_weights(micro.old_logprobs, micro.rollout_logprobs, *ppo.importance_clip)
            if ppo.algorithm is Algorithm.GRPO:
                loss = loss + kl_loss(logprobs, micro.reference_logprobs, ppo.kl_coefficient)
            self._backward(self._actor, loss, minibatch, last)
        self._actor.step()

    def _update_critic(self, minibatch: Minibatch, tallies: _Tallies) -> None:
        assert self._critic is not None
        for micro, last in _with_last(minibatch.micro_batches):
            values = self._critic(micro.layout)
            loss = value_loss(values, micro.values, micro.returns, self._ppo.value_clip)
            tallies.value.append(value_tally(loss.detach(), micro.values, micro.returns))
            self._backward(self._critic, loss, minibatch, last)
        self._critic.step()
        self._critic.module.head.follow_master()

    def _backward(self, engine: Any, loss: torch.Tensor, minibatch: Minibatch, last: bool) -> None:
        """Accumulates the gradient of the mean over the update's tokens, however they are spread over ranks."""
        if self._ppo.compat == "paper":
            objective = aggregate(loss, 0, mean_per_microbatch=True) / len(minibatch.micro_batches)
        else:
            objective = aggregate(loss, minibatch.total_tokens) * self._ranks  # DeepSpeed averages over ranks
        self._finite.add("the policy loss" if engine is self._actor else "the value loss", objective)
        engine.set_gradient_accumulation_boundary(last)
        engine.backward(objective)

    def _check_update(self, number: int) -> float:
        """Raises NonFinite when update `number` of the step was not finite; the policy's gradient norm before clipping.

        DeepSpeed leaves out the optimizer's step, without a word, when the gradient's norm is not finite.
        """
        norms = [engine.get_global_grad_norm() for engine in self._engines()]
        for name, norm in zip(("the policy's gradient", "the critic's gradient"), norms, strict=False):
            self._finite.add(name, norm)
        of_all = len(self._minibatches) * self._ppo.update_epochs
        self._finite.agree(f"at step {self._step}, update {number} of {of_all}")
        return float(norms[0] or 0.0)

    def _modules(self) -> dict[str, Any]:
        modules = {"policy": self._actor.module.lm}
        return modules if self._critic is None else modules | {"critic": self._critic.module}

    def _set_learning_rates(self) -> None:
        ppo = self._ppo
        factor = learning_rate_factor(
            self._updates_done, self._settings.total_updates, ppo.warmup_updates, ppo.min_learning_rate_ratio
        )
        rates = (ppo.actor_learning_rate, ppo.critic_learning_rate)
        for engine, rate in zip(self._engines(), rates, strict=False):
            for group in engine.optimizer.param_groups:
                group["lr"] = rate * factor

    def _logprobs(
        self, module: Any, micro: MicroBatch, with_entropy: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        # The paper's code sampled at a temperature but took log-probabilities at 1.
        temperature = 1.0 if self._ppo.compat == "paper" else self._ppo.temperature
        result: tuple[torch.Tensor, torch.Tensor | None] = module(micro.layout, micro.tokens, temperature, with_entropy)
        return result

    def _micro_batches(self) -> Iterator[MicroBatch]:
        return (micro for minibatch in self._minibatches for micro in minibatch.micro_batches)

    def _engines(self) -> list[Any]:
        return [self._actor] if self._critic is None else [self._actor, self._critic]

    # Weights for the engines

    def join_engines(self, address: tuple[str, int], ranks: int) -> None:
        """Meets the engines' workers at `address`, which this rank (0) listens on, to broadcast weights to them."""
        self._sender.join(address, ranks, self._settings.deadline_seconds)

    def send_weights(self) -> Iterator[WeightChunk]:
        """The policy's weights, from rank 0."""
        return self._sender.chunks()

    def assist_sending(self) -> None:
        """What the other ranks do while rank 0 sends."""
        self._sender.assist()

    def sent_checksums(self) -> Checksums:
        return self._sender.checksums()

    def fingerprint(self, tokens: list[int]) -> NDArray[np.float32]:
        """Log-probabilities of `tokens[1:]`, each given the ones before it, at temperature 1. [len(tokens) − 1]."""
        text = torch.tensor(tokens)
        layout = lay_out([text], torch.tensor([len(text) - 1]), packed=False, device=self._device)
        self._actor.eval()
        with torch.no_grad():
            logprobs, _ = self._actor(layout, text[1:].to(self._device), 1.0, False)
        answer: NDArray[np.float32] = logprobs.float().cpu().numpy()
        return answer

    # Checkpoints. Folders are relative to the scratch folder of this machine, which all its ranks share.

    def hold(self, folder: Path) -> None:
        """Writes this rank's part of the training state to files in `folder`. Raises ScratchFull."""
        own = self._scratch / folder / rank_folder(self._rank)
        disk.remove(own)
        with room_for(sum(state.size for state in self._states()), own):
            for state in self._states():
                state.save(own, self._updates_done)

    def begin_sending(self, folder: Path, path: str) -> None:
        """Begins to move this rank's part of `folder` below `path` in the store, while other work goes on."""
        self._uploads.start(self._store(), self._scratch / folder / rank_folder(self._rank), path)

    def sent(self, wait_seconds: float) -> tuple[FileRecord, ...] | None:
        """What `begin_sending` moved, once it is in the store; None when that takes longer than `wait_seconds`."""
        return self._uploads.files(wait_seconds)

    def fetch(self, path: str, records: Sequence[Sequence[FileRecord]], folder: Path) -> bool:
        """Copies this rank's entry of `records` from `path` in the store to `folder`; whether the bytes verify."""
        own, target = records[self._rank], self._scratch / folder
        with room_for(sum(record.size for record in own), target):
            return fetch(self._store(), path, own, target)

    def files_needed(self, folder: Path, where: str) -> set[str]:
        """Which files of the checkpoint `where` this rank needs; `folder` has its indexes.

        Raises LimrError when it is not of this model.
        """
        return {file for state in self._states() for file in state.files_needed(self._scratch / folder, where)}

    def restore(self, folder: Path) -> None:
        """Goes on exactly where the state in `folder` was saved, by whatever ranks."""
        self._updates_done = max(state.restore(self._scratch / folder) for state in self._states())
        if self._critic is not None:
            self._critic.module.head.follow_master()

    def discard(self, folder: Path) -> None:
        disk.remove(self._scratch / folder)

    def _states(self) -> list[ModelState]:
        return [ModelState(engine, name) for name, engine in zip(("actor", "critic"), self._engines(), strict=False)]

    def _store(self) -> Store:
        return open_store(self._settings.root, self._settings.endpoint)

    def export(self, folder: Path) -> None:
        """Writes the policy in Hugging Face form (rank 0; the others help to gather)."""
        lm, target = self._actor.module.lm, self._scratch / folder
        if self._rank > 0:
            export_weights(lm, target, writes=False)
            return
        with room_for(sum(whole_bytes(parameter) for parameter in lm.parameters()), target):
            export_weights(lm, target, writes=True)

    def send(self, folder: Path, path: str) -> tuple[FileRecord, ...]:
        """Moves what lies in `folder` below `path` in the store."""
        return send(self._store(), self._scratch / folder, path)


@dataclass(frozen=True)
class _Tallies:
    experience: list[Tally]
    policy: list[Tally]
    value: list[Tally]
    grad_norms: list[float]  # of the policy, by update


def _over_ranks(tallies: list[Tally]) -> Tally:
    tally = merge(tallies)
    dist.all_reduce(tally.sums)
    dist.all_reduce(tally.maxima, op=dist.ReduceOp.MAX)
    return tally


def _ratios(micro: MicroBatch) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """(index, mean, maximum) of the learner/sampler probability ratio over each response's tokens."""
    ratio = (micro.old_logprobs - micro.rollout_logprobs).double().exp()
    mean = torch.segment_reduce(ratio, "mean", lengths=micro.lengths)
    highest = torch.segment_reduce(ratio, "max", lengths=micro.lengths)
    return micro.indices.numpy(), mean.float().cpu().numpy(), highest.float().cpu().numpy()


def _with_last(micro_batches: list[MicroBatch]) -> Iterator[tuple[MicroBatch, bool]]:
    for position, micro in enumerate(micro_batches, start=1):
        yield micro, position == len(micro_batches)
