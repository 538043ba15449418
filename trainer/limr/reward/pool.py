"""The grader: one rule for training and evaluation, in the calling process where that is cheap, else in killable ones.

Format rules, equal texts, plain numbers and known verdicts are decided here, in microseconds; only what is left goes to
the processes, each distinct (answer, reference) once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from limr.reward import format
from limr.reward.cache import GradeCache, Pair
from limr.reward.math import quick_equal
from limr.reward.processes import Outcome, ProcessPool
from limr.reward.verdict import Grade, GradeRequest, Verdict
from limr.reward.worker import Settings
from limr.spec import Reward


class Grader:
    """Grades responses; for one caller at a time. Use it as a context manager, or call close()."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward
        self._cache = GradeCache()
        self._pool = ProcessPool(
            Settings(reward.function, reward.timeout_seconds, reward.memory_mib * 2**20),
            reward.workers or len(os.sched_getaffinity(0)),
        )

    def start(self) -> None:
        """Starts the processes and returns at once: they import (2 s) while the caller goes on."""
        self._pool.start()

    def wait_ready(self) -> None:
        """Waits until a process can grade. Raises LimrError, for example when reward.function cannot be imported."""
        self._pool.wait_ready()

    def grade(self, requests: Sequence[GradeRequest]) -> list[Grade]:
        """One grade for each request, in order. Raises LimrError when the processes cannot start."""
        if self._reward.function is None:
            return self._by_rule(requests)
        outcomes = self._pool.run([(row.response, row.answer, row.truncated) for row in requests])
        return [self._by_function(outcome) for outcome in outcomes]

    def close(self) -> None:
        """Ends every process; the next grade() would start new ones."""
        self._pool.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _by_rule(self, requests: Sequence[GradeRequest]) -> list[Grade]:
        grades: dict[int, Grade] = {}
        unknown: dict[Pair, list[int]] = {}
        for row, request in enumerate(requests):
            answer = format.final_answer(request.response, request.truncated)
            if isinstance(answer, format.Malformed):
                grades[row] = self._grade(Verdict.FORMAT, answer.reason)
                continue
            pair = (answer, request.answer)
            grade = self._cache.get(pair) or self._quick(pair)
            if grade is None:
                unknown.setdefault(pair, []).append(row)
            else:
                grades[row] = grade
        for (pair, rows), outcome in zip(unknown.items(), self._pool.run(list(unknown)), strict=True):
            grades.update(dict.fromkeys(rows, self._compared(pair, outcome)))
        return [grades[row] for row in range(len(requests))]

    def _quick(self, pair: Pair) -> Grade | None:
        equal = quick_equal(*pair)
        return None if equal is None else self._grade(Verdict.CORRECT if equal else Verdict.WRONG)

    def _compared(self, pair: Pair, outcome: Outcome) -> Grade:
        verdict = outcome.failure or (Verdict.CORRECT if outcome.value else Verdict.WRONG)
        grade = self._grade(verdict, outcome.detail)
        if verdict is not Verdict.ERROR and outcome.repeatable:
            self._cache.put(pair, grade)
        return grade

    def _by_function(self, outcome: Outcome) -> Grade:
        if outcome.failure is not None:
            return self._grade(outcome.failure, outcome.detail)
        if isinstance(outcome.value, Grade):
            return outcome.value
        reward = float(outcome.value or 0.0)
        return Grade(Verdict.CORRECT if reward >= self._reward.correct else Verdict.WRONG, reward)

    def _grade(self, verdict: Verdict, detail: str = "") -> Grade:
        rewards = {Verdict.CORRECT: self._reward.correct, Verdict.WRONG: self._reward.wrong}
        return Grade(verdict, rewards.get(verdict, self._reward.malformed), detail)
