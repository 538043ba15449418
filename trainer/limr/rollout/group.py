"""All engines of a stage, as the training loop sees them: generate, sync, replace the ones that are lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from limr.actors import Actor, ActorLost, Watch, as_answered, wait
from limr.devices import actor_options
from limr.rollout.llm_settings import engine_environment
from limr.rollout.proof import Fingerprint, Receipt, StaleWeights, corrupted
from limr.rollout.types import EngineSettings, Rollouts, SamplingSettings, concatenate
from limr.topology import Workers

log = logging.getLogger(__name__)


class WeightSource(Protocol):
    """Weights of one version that engines can be brought to, as often as needed."""

    def deliver(self, engines: Sequence[Actor]) -> Sequence[Receipt | ActorLost]:
        """What each of the engines got, or how it was lost."""


class ModelFiles:
    """A model in Hugging Face form, which each engine reads for itself. `version` changes with its bytes."""

    def __init__(self, uri: str, version: str, wait_seconds: float, watch: Watch | None) -> None:
        self._call = ("load_files", uri, version)
        self._wait = wait_seconds
        self._watch = watch

    def deliver(self, engines: Sequence[Actor]) -> list[Receipt | ActorLost]:
        refs = [engine.call(*self._call) for engine in engines]
        return [self._receipt(engine, ref) for engine, ref in zip(engines, refs, strict=True)]

    def _receipt(self, engine: Actor, ref: Any) -> Receipt | ActorLost:
        try:
            receipt: Receipt = wait(engine, ref, self._wait, self._watch)
        except ActorLost as loss:
            return loss
        return receipt


class EngineGroup:
    """One engine in each of `workers`. A prompt's engine depends only on the prompt's place in the batch: a run can be
    repeated.

    `watch` is called while something is waited for.
    """

    def __init__(
        self,
        workers: Workers,
        settings: EngineSettings,
        wait_seconds: float,
        watch: Watch | None = None,
        replacements: int = 3,
    ) -> None:
        self._workers = workers
        self._settings = settings
        self._wait = wait_seconds
        self._watch = watch
        self._replacements = replacements
        self.replaced = 0
        self.corrupted_transfers = 0
        self._engines = [self._spawn(index) for index in range(workers.actors)]
        self._weights: tuple[WeightSource, Fingerprint] | None = None

    @property
    def actors(self) -> list[Actor]:
        return self._engines

    def start(self) -> None:
        """Waits until every engine has loaded its model. Raises ActorLost when one cannot."""
        self._on_all([("ready",)] * len(self._engines))

    def sync(self, weights: WeightSource, fingerprint: Fingerprint) -> None:
        """Brings every engine to `weights` and proves it. An engine that is lost is replaced and brought to them too.

        Raises StaleWeights when an engine received other bits than were sent, twice, or answers otherwise than the
        learner on the fingerprint's text, and ActorLost when engines keep dying.
        """
        self._weights = (weights, fingerprint)
        self._bring(range(len(self._engines)))
        answers = self._on_all([("score", fingerprint.tokens)] * len(self._engines))
        for index, answer in enumerate(answers):
            fingerprint.check(index, answer)

    def load_files(self, uri: str, version: str, fingerprint: Fingerprint) -> None:
        """As `sync`, with the weights of a model in Hugging Face form; `version` changes with its bytes."""
        self.sync(ModelFiles(uri, version, self._wait, self._watch), fingerprint)

    def generate(self, prompts: Sequence[list[int]], seeds: Sequence[int], settings: SamplingSettings) -> Rollouts:
        """`settings.samples` responses to each prompt, in the prompts' order."""
        shards = [part for part in np.array_split(np.arange(len(prompts)), len(self._engines)) if len(part)]
        calls = [("generate", [prompts[i] for i in shard], [seeds[i] for i in shard], settings) for shard in shards]
        return concatenate(self._on_all(calls))

    def close(self) -> None:
        for engine in self._engines:
            engine.kill()

    def _bring(self, indices: Sequence[int]) -> None:
        """Gives the engines at `indices` the present weights, bit by bit as they were sent."""
        assert self._weights is not None
        weights, _ = self._weights
        receipts = weights.deliver([self._engines[index] for index in indices])
        for index, receipt in zip(indices, receipts, strict=True):
            if isinstance(receipt, ActorLost):
                self._replace(index, receipt)
            elif differences := receipt.differences():
                self._bring_again(index, differences)

    def _bring_again(self, index: int, differences: Sequence[str]) -> None:
        """A transfer may be disturbed once; an engine that cannot be given the weights twice is not used."""
        assert self._weights is not None
        weights, _ = self._weights
        self.corrupted_transfers += 1
        log.warning("%s; sending the weights again", corrupted(index, differences))
        (receipt,) = weights.deliver([self._engines[index]])
        if isinstance(receipt, ActorLost):
            self._replace(index, receipt)
        elif again := receipt.differences():
            raise StaleWeights(
                f"{corrupted(index, again)}, twice in a row; suspect the memory or the network of its machine"
            )

    def _spawn(self, index: int) -> Actor:
        arguments = [self._settings, self._workers.kind, self._workers.devices_per_actor]
        options = actor_options(self._workers, engine_environment(self._settings.options, self._workers.kind))
        return Actor(f"engine {index}", "limr.rollout.engine:Engine", arguments, options)

    def _on_all(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The i-th call on the i-th engine, all at once; an engine that is lost is replaced and asked again."""
        waiting = {self._engines[index].call(*call): index for index, call in enumerate(calls)}
        answers: dict[int, Any] = {}
        while waiting:
            asked = {ref: self._engines[index] for ref, index in waiting.items()}
            try:
                for ref, answer in as_answered(asked, self._wait, self._watch):
                    answers[waiting.pop(ref)] = answer
            except ActorLost as loss:
                for index in [self._engines.index(actor) for actor in loss.actors]:
                    self._replace(index, loss)
                    waiting = {ref: other for ref, other in waiting.items() if other != index}
                    waiting[self._engines[index].call(*calls[index])] = index
        return [answers[index] for index in range(len(calls))]

    def _replace(self, index: int, loss: ActorLost) -> None:
        if self.replaced == self._replacements:
            raise loss
        self.replaced += 1
        log.warning("%s; starting another engine in its place", loss)
        self._engines[index].kill()
        self._engines[index] = self._spawn(index)
        if self._weights is not None:
            _, fingerprint = self._weights
            self._bring([index])
            # The engine of now: the new one may have been replaced itself.
            now = self._engines[index]
            fingerprint.check(index, wait(now, now.call("score", fingerprint.tokens), self._wait, self._watch))
