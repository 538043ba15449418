"""Tells whether a stage lives: its driver beats while the processes of its engines and learners answer pings.

A part of a step may take many minutes in which nothing is reported; that a process works at it and does not hang is
what the ping shows. A stopped or deadlocked process does not answer, nor does a machine that is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import ray
from ray.exceptions import RayError

from limr.actors import Actor, Work
from limr.channel import BEAT_SECONDS

PING_SECONDS = 2.0
# A library may hold Python's lock for long (compilation, serialization), so a process has time to answer.
ANSWER_SECONDS = 120.0

_log = logging.getLogger(__name__)


def answer_seconds(heartbeat_seconds: float) -> float:
    """How long a process may leave a ping unanswered: the driver must end the attempt, and name the process, before
    limits.heartbeatSeconds ends it."""
    return min(ANSWER_SECONDS, heartbeat_seconds / 2)


class Liveness:
    """A thread that pings actors and calls `beat`; entered as a context, from the beginning of a stage.

    Losing a vital actor ends the beats: its loss ends the attempt, as soon as somebody calls `check` or waits for it.
    Any other actor may be replaced. An actor counts from its first answer on: before, its process may still be waiting
    for a machine, for which the deadline of its first call holds.
    """

    def __init__(self, beat: Callable[[], None], limit_seconds: float) -> None:
        self._beat = beat
        self._limit = limit_seconds
        self._vital: Callable[[], Sequence[Actor]] = tuple
        self._others: Callable[[], Sequence[Actor]] = tuple
        self._pings: dict[Actor, _Ping] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="limr-liveness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def follow(
        self, vital: Callable[[], Sequence[Actor]] = tuple, others: Callable[[], Sequence[Actor]] = tuple
    ) -> None:
        """Pings these from now on; asked again in each round, since actors may be replaced."""
        self._vital, self._others = vital, others

    def check(self) -> None:
        """Raises ActorLost, with the name of a vital actor that has ceased to answer."""
        for actor in self._vital():
            actor.check()

    def _run(self) -> None:
        before = beaten = time.monotonic()
        while not self._ended.wait(PING_SECONDS):
            now = time.monotonic()
            # A driver that was paused itself must not take the pause for its actors' silence.
            self._round(min(now - before, 2 * PING_SECONDS))
            before = now
            lost = any(actor.unresponsive for actor in self._vital())
            if not lost and now - beaten >= BEAT_SECONDS:
                beaten = now
                self._beat()

    def _round(self, elapsed: float) -> None:
        actors = [*self._vital(), *self._others()]
        self._pings = {actor: self._pings.get(actor) or _Ping(actor) for actor in actors}
        for actor, ping in self._pings.items():
            ping.look(elapsed)
            if actor.unresponsive is None and ping.silence > self._limit:
                actor.unresponsive = f"has not answered a ping for {ping.silence:.0f} seconds: its process hangs"
                _log.error("%s %s", actor.who, actor.unresponsive)


class _Ping:
    """The ping of one actor that is on its way, and how long its answer has been missing."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._ref: Any = actor.ping()
        self._answered = False
        self.silence = 0.0  # seconds

    def look(self, elapsed: float) -> None:
        """Takes the answer if it has come, `elapsed` seconds after the last look, and asks again."""
        if not ray.wait([self._ref], timeout=0)[0]:
            self.silence += elapsed if self._answered else 0.0
            return
        self.silence = 0.0
        try:
            work: Work = ray.get(self._ref)
        except RayError:
            return  # it has died, which whoever waits for it is told by Ray
        self._answered = True
        self._actor.work = work
        self._ref = self._actor.ping()
