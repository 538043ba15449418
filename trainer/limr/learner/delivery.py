"""Brings the learners' weights to engines, from the driver: it passes chunks on but never holds their bytes.

Without GPUs a chunk's bytes travel through Ray's object store. With GPUs they are broadcast from rank 0 to the workers
of all engines, and only the chunks' descriptions pass the driver. Everything else is the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray

from limr.actors import POLL_SECONDS, Actor, ActorLost, Watch, results, submit, wait
from limr.rollout.proof import Receipt

CHUNKS_ON_THE_WAY = 2  # to each engine: one is loaded while the next one comes


class BroadcastPeers:
    """Who is in the broadcast group of the first learner: formed anew whenever the engines change."""

    def __init__(self, sender: Actor, wait_seconds: float, watch: Watch | None = None) -> None:
        self._sender = sender
        self._wait = wait_seconds
        self._watch = watch
        self._engines: list[Actor] = []

    def connect(self, engines: Sequence[Actor]) -> None:
        if self._engines == list(engines):
            return
        self._engines = []
        workers = results(submit(engines, "workers"), self._wait, self._watch)
        ranks = 1 + sum(workers)
        address = wait(self._sender, self._sender.call("free_address"), self._wait, self._watch)
        calls = {self._sender.call("join_engines", address, ranks): self._sender}
        first_rank = 1
        for engine, count in zip(engines, workers, strict=True):
            calls[engine.call("join", address, first_rank, ranks, self._wait)] = engine
            first_rank += count
        results(calls, self._wait, self._watch)
        self._engines = list(engines)


class LearnerWeights:
    """The learners' weights at one version, as EngineGroup asks for them."""

    def __init__(
        self,
        learners: Sequence[Actor],
        version: int,
        wait_seconds: float,
        broadcast: BroadcastPeers | None,
        watch: Watch | None = None,
    ) -> None:
        self._learners = learners
        self._version = version
        self._wait = wait_seconds
        self._broadcast = broadcast
        self._watch = watch

    def deliver(self, engines: Sequence[Actor]) -> list[Receipt | ActorLost]:
        """What each engine got, or how it was lost.

        Raises ActorLost when a learner is lost, and when an engine is lost during a broadcast: the other processes then
        wait for it in a collective and cannot be used again.
        """
        if self._broadcast is not None:
            self._broadcast.connect(engines)
        loss_is_fatal = self._broadcast is not None
        transfer = _Transfer(self._learners, engines, self._wait, self._watch, loss_is_fatal)
        transfer.run()
        received = transfer.finish(self._version)
        sent = wait(self._learners[0], self._learners[0].call("sent_checksums"), self._wait, self._watch)
        return [got if isinstance(got, ActorLost) else Receipt(sent, got) for got in received]


class _Transfer:
    """One pass of all weights from the learners to `engines`."""

    def __init__(
        self,
        learners: Sequence[Actor],
        engines: Sequence[Actor],
        wait_seconds: float,
        watch: Watch | None,
        loss_is_fatal: bool,
    ) -> None:
        self._engines = engines
        self._wait = wait_seconds
        self._watch = watch
        self._loss_is_fatal = loss_is_fatal
        self._lost: dict[int, ActorLost] = {}
        self._loading: dict[Any, int] = {engine.call("start_update"): i for i, engine in enumerate(engines)}
        self._chunks = learners[0].stream("send_weights", ahead=CHUNKS_ON_THE_WAY)
        # The learners' own calls, which end after the last chunk, and before it only by an error.
        self._sending = {self._chunks.completed(): learners[0]}
        self._sending |= {learner.call("assist_sending"): learner for learner in learners[1:]}

    def run(self) -> None:
        more, since = True, time.monotonic()
        while more or self._loading or self._sending:
            busy = len(self._loading) >= CHUNKS_ON_THE_WAY * len(self._engines)
            candidates = [*self._loading, *self._sending] + ([self._chunks] if more and not busy else [])
            ready, _ = ray.wait(candidates, num_returns=1, timeout=POLL_SECONDS)
            if not ready:
                self._look_around(time.monotonic() - since)
                continue
            since = time.monotonic()
            if ready[0] is self._chunks:
                more = self._pass_on()
            elif ready[0] in self._sending:
                wait(self._sending.pop(ready[0]), ready[0], self._wait, self._watch)
            else:
                self._settle(ready[0])

    def finish(self, version: int) -> list[Any]:
        """The checksums of each engine's workers, or how it was lost."""
        refs = {i: engine.call("finish_update", version) for i, engine in self._alive()}
        received: dict[int, Any] = {}
        for i, ref in refs.items():
            try:
                received[i] = wait(self._engines[i], ref, self._wait, self._watch)
            except ActorLost as loss:
                received[i] = loss
        return [self._lost.get(i) or received[i] for i in range(len(self._engines))]

    def _look_around(self, silent_seconds: float) -> None:
        """While nothing comes: raises when all are silent for too long, and drops engines that answer no pings."""
        if silent_seconds >= self._wait:
            raise ActorLost(self._silent(), f"did not answer within {self._wait:g} seconds")
        if self._watch is not None:
            self._watch()
        for i, engine in self._alive():
            try:
                engine.check()
            except ActorLost as loss:
                self._lose(i, loss)
        self._loading = {ref: i for ref, i in self._loading.items() if i not in self._lost}

    def _lose(self, index: int, loss: ActorLost) -> None:
        if self._loss_is_fatal:
            raise loss
        self._lost.setdefault(index, loss)

    def _pass_on(self) -> bool:
        """Gives the next chunk to all engines; whether there was one."""
        try:
            chunk = next(self._chunks)
        except StopIteration:
            return False
        self._loading |= {engine.call("update", chunk): i for i, engine in self._alive()}
        return True

    def _settle(self, ref: Any) -> None:
        """Notes how an engine took what it was given."""
        index = self._loading.pop(ref)
        try:
            wait(self._engines[index], ref, self._wait)
        except ActorLost as loss:
            self._check_learners()  # a chunk that a lost learner did not finish fails in the engine's name
            self._lose(index, loss)

    def _check_learners(self) -> None:
        if not self._sending:
            return
        ended, _ = ray.wait(list(self._sending), num_returns=len(self._sending), timeout=1)
        for ref in ended:
            wait(self._sending.pop(ref), ref, self._wait)

    def _alive(self) -> list[tuple[int, Actor]]:
        return [(i, engine) for i, engine in enumerate(self._engines) if i not in self._lost]

    def _silent(self) -> list[Actor]:
        indices = sorted(set(self._loading.values()))
        return [self._engines[i] for i in indices] or list(self._sending.values())
