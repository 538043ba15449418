"""All engines of a stage, as the training loop sees them: generate, sync, replace the ones that are lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from limr.actors import Actor, ActorLost, wait
from limr.devices import actor_options
from limr.errors import LimrError
from limr.rollout.llm_settings import engine_environment
from limr.rollout.types import EngineSettings, Rollouts, SamplingSettings, concatenate
from limr.topology import Workers

log = logging.getLogger(__name__)


class StaleWeights(LimrError):
    """After a sync an engine does not answer as the learner does: it must not be trained on."""

    reason = "StaleWeights"


@dataclass(frozen=True)
class Fingerprint:
    """What the learner says about a fixed text at some version: the engine must say the same."""

    tokens: list[int]
    logprobs: NDArray[np.float32]  # float32 [len(tokens) − 1]
    tolerance: float  # on the mean absolute difference

    def to_json(self) -> str:
        return json.dumps({"tokens": self.tokens, "logprobs": self.logprobs.tolist(), "tolerance": self.tolerance})

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        fields = json.loads(text)
        return cls(fields["tokens"], np.array(fields["logprobs"], np.float32), fields["tolerance"])


class EngineGroup:
    """One engine in each of `workers`. A prompt's engine depends only on the prompt's place in the batch: a run can be
    repeated."""

    def __init__(self, workers: Workers, settings: EngineSettings, wait_seconds: float, replacements: int = 3) -> None:
        self._workers = workers
        self._settings = settings
        self._wait = wait_seconds
        self._replacements = replacements
        self.replaced = 0
        self._engines = [self._spawn(index) for index in range(workers.actors)]
        self._weights: tuple[tuple[Any, ...], Fingerprint] | None = None

    def sync(self, bundle: ray.ObjectRef, fingerprint: Fingerprint) -> None:
        """Brings every engine to the weights of a WeightBundle, that `bundle` refers to, and proves it.

        Raises StaleWeights when an engine answers otherwise than the learner on the fingerprint's text, and ActorLost
        when engines keep dying.
        """
        self._bring(("load", bundle), fingerprint)

    def load_files(self, uri: str, version: str, fingerprint: Fingerprint) -> None:
        """As `sync`, with the weights of a model in Hugging Face form; `version` changes with its bytes."""
        self._bring(("load_files", uri, version), fingerprint)

    def generate(self, prompts: Sequence[list[int]], seeds: Sequence[int], settings: SamplingSettings) -> Rollouts:
        """`settings.samples` responses to each prompt, in the prompts' order."""
        shards = [part for part in np.array_split(np.arange(len(prompts)), len(self._engines)) if len(part)]
        calls = [("generate", [prompts[i] for i in shard], [seeds[i] for i in shard], settings) for shard in shards]
        return concatenate(self._on_all(calls))

    def close(self) -> None:
        for engine in self._engines:
            engine.kill()

    def _bring(self, load: tuple[Any, ...], fingerprint: Fingerprint) -> None:
        self._weights = (load, fingerprint)
        self._on_all([load] * len(self._engines))
        answers = self._on_all([("score", fingerprint.tokens)] * len(self._engines))
        for index, answer in enumerate(answers):
            self._check(index, answer)

    def _spawn(self, index: int) -> Actor:
        arguments = [self._settings, self._workers.kind, self._workers.devices_per_actor]
        options = actor_options(self._workers, engine_environment(self._settings.options, self._workers.kind))
        return Actor(f"engine {index}", "limr.rollout.engine:Engine", arguments, options)

    def _on_all(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The i-th call on the i-th engine, all at once; an engine that is lost is replaced and asked again."""
        refs = [engine.call(*call) for engine, call in zip(self._engines, calls, strict=False)]
        return [self._answer(index, ref, call) for index, (ref, call) in enumerate(zip(refs, calls, strict=True))]

    def _answer(self, index: int, ref: ray.ObjectRef, call: tuple[Any, ...]) -> Any:
        while True:
            try:
                return wait(self._engines[index], ref, self._wait)
            except ActorLost as loss:
                self._replace(index, loss)
                ref = self._engines[index].call(*call)

    def _replace(self, index: int, loss: ActorLost) -> None:
        if self.replaced == self._replacements:
            raise loss
        self.replaced += 1
        log.warning("%s; starting another engine in its place", loss)
        self._engines[index].kill()
        self._engines[index] = engine = self._spawn(index)
        if self._weights is not None:
            load, fingerprint = self._weights
            wait(engine, engine.call(*load), self._wait)
            self._check(index, wait(engine, engine.call("score", fingerprint.tokens), self._wait))

    def _check(self, index: int, answer: NDArray[np.float32]) -> None:
        assert self._weights is not None
        _, expected = self._weights
        difference = float(np.abs(answer - expected.logprobs).mean())
        if not difference <= expected.tolerance:
            raise StaleWeights(
                f"engine {index} was given new weights, but its log-probabilities differ from the learner's by "
                f"{difference:.3g} on average (allowed: {expected.tolerance:g}); its weights are stale or were loaded "
                "under wrong names: check that vLLM supports this architecture as transformers does"
            )
