"""The journal under any order of steps, commits, crashes at any write, takeovers, stale writers and damage."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from servers.crashing_store import Crash, CrashingStore
from servers.training import STAGE, Training, check_history, check_nothing_else_is_there

from limr.store.journal import Fenced
from limr.store.local import LocalStore
from limr.store.manifest import Manifest, read_manifest

MEMORY = Path("/dev/shm")  # thousands of flushed writes, of which none needs to outlive the machine


class Stage(RuleBasedStateMachine):
    """One stage whose attempts come and go. What a checkpoint stands behind stays, unless that is damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.store = LocalStore(self.root)  # an observer that never crashes
        self.attempt = 0
        self.keep = 1
        self.process = CrashingStore(self.root)
        self.training: Training | None = None
        self.stale: list[Training] = []
        self.durable: list[list[int]] = []

    @initialize(keep=st.integers(1, 3))
    def begin(self, keep: int) -> None:
        self.keep = keep
        self._start()

    def teardown(self) -> None:
        try:
            self.process.kill()
            self._start()
            if not self._manifest().finished:
                self._live().step()
                self._live().finish()
                check_nothing_else_is_there(self.store)
            self.history_is_whole()
        finally:
            shutil.rmtree(self.root)

    @invariant()
    def history_is_whole(self) -> None:
        history = check_history(self.store)
        if history:
            checkpoints = self._manifest().checkpoints
            assert len(checkpoints) <= self.keep
            durable = history[: checkpoints[-1].step if checkpoints else 0]
            assert durable[: len(self.durable)] == self.durable
            self.durable = durable

    @precondition(lambda self: self._working())
    @rule(texts=st.booleans())
    def step(self, texts: bool) -> None:
        self._unless_it_crashes(lambda: self._live().step(texts))

    @precondition(lambda self: self._working() and self._live().weights)
    @rule(checkpoint=st.booleans())
    def commit(self, checkpoint: bool) -> None:
        self._unless_it_crashes(lambda: self._live().commit(checkpoint))

    @precondition(lambda self: self._working() and self._live().weights)
    @rule()
    def begin_commit(self) -> None:
        """Steps that are added from now on do not come with this checkpoint."""
        self._unless_it_crashes(lambda: self._live().begin_commit())

    @precondition(lambda self: self._working())
    @rule()
    def poll(self) -> None:
        self._unless_it_crashes(lambda: self._live().journal.poll())

    @precondition(lambda self: self._working() and self.attempt > 3)
    @rule()
    def finish(self) -> None:
        self._unless_it_crashes(lambda: self._live().finish())

    @precondition(lambda self: self._working())
    @rule(ticks=st.integers(0, 24))
    def crash_soon(self, ticks: int) -> None:
        self.process.crash_after(ticks)

    @rule(ticks=st.none() | st.integers(0, 6))
    def start_after_a_crash(self, ticks: int | None) -> None:
        self.process.kill()
        self._unless_it_crashes(lambda: self._start(ticks))

    @precondition(lambda self: self._working())
    @rule()
    def start_beside_a_writer_that_still_lives(self) -> None:
        self.stale.append(self._live())
        self._start()

    @precondition(lambda self: self.stale)
    @rule(random=st.randoms(use_true_random=False), steps=st.integers(1, 2), checkpoint=st.booleans())
    def a_stale_writer_tries(self, random: Random, steps: int, checkpoint: bool) -> None:
        before = self.store.get(f"{STAGE}/manifest.json")
        stale = random.choice(self.stale)
        try:
            for _ in range(steps):
                stale.step()
                stale.settle()
            stale.commit(checkpoint)
        except (Fenced, Crash):
            assert self.store.get(f"{STAGE}/manifest.json") == before
        else:
            raise AssertionError("a stale writer could commit")

    @precondition(lambda self: not self._manifest().finished and self._manifest().checkpoints)
    @rule()
    def damage_the_last_checkpoint(self) -> None:
        """The next attempt goes back to the one before, and what it commits replaces what followed that."""
        self.process.kill()
        manifest = self._manifest()
        history = [[record.step, record.attempt] for record in manifest.steps]
        self.store.put(f"{STAGE}/{manifest.checkpoints[-1].path}/actor/weights.json", b"[]")
        self._start()
        assert self._live().weights == history[: manifest.checkpoints[-2].step if len(manifest.checkpoints) > 1 else 0]
        self.durable = list(self._live().weights)
        self._live().step()
        self._live().commit()

    def _start(self, ticks: int | None = None) -> None:
        """The next attempt in a process of its own."""
        self.training = None
        self.attempt += 1
        self.process = CrashingStore(self.root)
        if ticks is not None:
            self.process.crash_after(ticks)
        self.training = Training(self.process, self.attempt, keep=self.keep)

    def _unless_it_crashes(self, action: Callable[[], None]) -> None:
        try:
            action()
            self._live().settle()
        except Crash:
            self.training = None

    def _live(self) -> Training:
        assert self.training is not None
        return self.training

    def _working(self) -> bool:
        return self.training is not None and not self.training.journal.manifest.finished

    def _manifest(self) -> Manifest:
        return read_manifest(self.store, STAGE)


TestStage = Stage.TestCase
TestStage.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
