"""What a Probe or Training stage reports of itself: where it is, how its steps went, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from limr.actors import Work
from limr.curve import condensed
from limr.records import Sampled
from limr.stage import Ledger, Progress, Reporter
from limr.stopwatch import Pace


class TrainingProgress:
    """Reports after every change. `checkpoint_step` gives the step of the last checkpoint."""

    def __init__(self, reporter: Reporter, steps: int, checkpoint_step: Callable[[], int | None]) -> None:
        self._reporter, self._steps, self._devices = reporter, steps, 0
        self._checkpoint_step = checkpoint_step
        self.done = 0  # steps
        self.part = ""  # of a step or of the start
        self._work = Work()
        self.history: list[Mapping[str, float]] = []  # metrics of every step, as the manifest has them
        self.total = Ledger()  # of the stage, up to the last step that is done
        self.spent = Ledger()  # of this attempt, with what it does a second time
        self._charged_until = time.monotonic()
        self._pace = Pace(0, steps)

    def charge_from_now(self, devices: int) -> None:
        """So many devices are held from here on."""
        self._devices, self._charged_until = devices, time.monotonic()

    def begin(self, done: int) -> None:
        """Steps are made from here on."""
        self.done = done
        self._pace = Pace(done, self._steps)

    def enter(self, part: str) -> None:
        self.part, self._work = part, Work()
        self._report()

    def within(self, work: Work) -> None:
        """How far the part is."""
        if work != self._work:
            self._work = work
            self._report()

    def finish_step(self, step: int) -> None:
        self.done = step
        self.enter("done")

    def charge(self, sampled: Sampled, prompt_tokens: int) -> None:
        """Counts what a step has cost."""
        cost = Ledger(
            rollouts=len(sampled.grades),
            prompt_tokens=prompt_tokens,
            response_tokens=len(sampled.rollouts.tokens),
            device_seconds=self._device_seconds(),
        )
        self.total += cost
        self.spent += cost

    def charge_dropped(self) -> None:
        """Counts the time of a step that was dropped, or of a start: this attempt held the devices all the same."""
        self.spent += Ledger(device_seconds=self._device_seconds())

    def _device_seconds(self) -> float:
        now = time.monotonic()
        seconds, self._charged_until = self._devices * (now - self._charged_until), now
        return seconds

    def _report(self) -> None:
        last = self.history[-1] if self.history else {}
        self._reporter.progress(
            Progress(
                updated_at=time.time(),
                step=self.done,
                steps=self._steps,
                message=self.part,
                part_done=self._work.done,
                part_size=self._work.total,
                reward_mean=last.get("reward_mean"),
                reward_curve=condensed([metrics["reward_mean"] for metrics in self.history]),
                tokens_per_second=last.get("tokens_per_second"),
                eta_seconds=self._pace.eta(self.done),
                checkpoint_step=self._checkpoint_step(),
                ledger=self.spent,
            )
        )
