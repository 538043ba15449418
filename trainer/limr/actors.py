"""Ray actors: started without loading their libraries into the driver, and never waited for without a deadline.

A thread of each actor's process answers pings beside the work, with how far the work is. So a process that works for
long differs from one that hangs: limr.liveness asks, and the waits here look at the answers.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from limr.errors import LimrError

POLL_SECONDS = 0.5  # between two looks at what else matters while a call is waited for

# Called while something is waited for; what it raises ends the wait.
Watch = Callable[[], None]


class ActorLost(LimrError):
    """A process of the run died or did not answer in time. The stage can be tried again from its checkpoint."""

    reason = "ProcessLost"

    def __init__(self, actors: Sequence[Actor], why: str) -> None:
        super().__init__(f"{', '.join(actor.who for actor in actors)} {why}")
        self.actors = actors


@dataclass(frozen=True)
class Work:
    """How far an actor's current call is, in units of its own; total 0 while it has none."""

    done: int = 0
    total: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.done + other.done, self.total + other.total)


def connect() -> None:
    """Joins the Ray cluster at RAY_ADDRESS; without one, starts one of its own for this process."""
    on_terminate = signal.getsignal(signal.SIGTERM)
    ray.init(
        ignore_reinit_error=True,
        include_dashboard=False if not os.environ.get("RAY_ADDRESS") else None,
        log_to_driver=True,
        logging_level=logging.WARNING,
    )
    signal.signal(signal.SIGTERM, on_terminate)  # Ray's own handler would abort the process, without a checkpoint


class _Host:
    """Makes the object in its own process: vLLM and DeepSpeed take seconds and gigabytes that the driver spares.

    Its work is done call by call in one thread; each of Ray's concurrency groups below has a thread of its own.
    """

    def __init__(self) -> None:
        self._target: Any = None

    def create(self, factory: str, arguments: Sequence[Any]) -> None:
        module, name = factory.split(":")
        self._target = getattr(importlib.import_module(module), name)(*arguments)

    def call(self, created: None, method: str, *arguments: Any) -> Any:
        return getattr(self._target, method)(*arguments)

    def stream(self, created: None, method: str, *arguments: Any) -> Iterator[Any]:
        yield from getattr(self._target, method)(*arguments)

    def ping(self) -> Work:
        """Answers at once, whatever the object does; an object may have an attribute `work`."""
        work: Work = getattr(self._target, "work", Work())
        return work


_PING = "ping"
_BESIDE = "beside"  # what needs no model and must not wait for the work: files on their way to the store
_REMOTE_HOST: Any = ray.remote(concurrency_groups={_PING: 1, _BESIDE: 1})(_Host)


class Actor:
    """One object of class `factory` ("module:Class") in a process of its own."""

    def __init__(self, who: str, factory: str, arguments: Sequence[Any], options: dict[str, Any]) -> None:
        self.who = who
        # As pings tell, written by the thread of limr.liveness:
        self.work = Work()
        self.unresponsive: str | None = None  # why the process counts as lost
        self._host = _REMOTE_HOST.options(**options).remote()
        self._created = self._host.create.remote(factory, arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        """Starts `method` and returns the reference of its result; Ray references among the arguments are resolved.

        When the object could not be made, that error is the result.
        """
        return self._host.call.remote(self._created, method, *arguments)

    def call_beside(self, method: str, *arguments: Any) -> Any:
        """As `call`, without waiting for the calls before it: for a method that touches no model."""
        return self._host.call.options(concurrency_group=_BESIDE).remote(self._created, method, *arguments)

    def ping(self) -> Any:
        """The reference of the process's answer: its Work."""
        return self._host.ping.options(concurrency_group=_PING).remote()

    def stream(self, method: str, *arguments: Any, ahead: int) -> Any:
        """Starts the generator `method` and returns one of references; it stays `ahead` items before its reader."""
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": ahead}
        return self._host.stream.options(**options).remote(self._created, method, *arguments)

    def kill(self) -> None:
        ray.kill(self._host)

    def check(self) -> None:
        """Raises ActorLost when the process has ceased to answer pings."""
        if self.unresponsive is not None:
            raise ActorLost([self], self.unresponsive)

    def failed_to_start(self) -> bool:
        """Whether making the object has failed."""
        try:
            ray.get(self._created, timeout=0)
        except GetTimeoutError:
            return False
        except RayTaskError:
            return True
        return False


def wait(actor: Actor, ref: Any, deadline_seconds: float, watch: Watch | None = None) -> Any:
    """The value behind `ref`, a call of `actor`. Raises as `as_answered` does."""
    return results({ref: actor}, deadline_seconds, watch)[0]


def submit(actors: Sequence[Actor], method: str, *arguments: Any) -> dict[Any, Actor]:
    """Starts `method` on all actors at once and returns the calls, for `results`."""
    return {actor.call(method, *arguments): actor for actor in actors}


def results(calls: Mapping[Any, Actor], deadline_seconds: float, watch: Watch | None = None) -> list[Any]:
    """The values behind `calls`, in order. Raises as `as_answered` does.

    The actors may wait for each other (collectives), so the first one that is lost or fails ends the wait for all.
    """
    answers = dict(as_answered(calls, deadline_seconds, watch))
    return [answers[ref] for ref in calls]


def as_answered(
    calls: Mapping[Any, Actor], deadline_seconds: float, watch: Watch | None = None
) -> Iterator[tuple[Any, Any]]:
    """Each of `calls` with the value behind it, as they come.

    Raises ActorLost when a process died, has ceased to answer pings, or when for `deadline_seconds` no answer came and
    no actor came forward with its work; what a call itself raised; and what `watch` raises.
    """
    waiting = dict(calls)
    work, since = _work(waiting), time.monotonic()
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=min(POLL_SECONDS, deadline_seconds))
        for ref in ready:
            yield ref, _answer(waiting.pop(ref), ref)
        for actor in waiting.values():
            actor.check()
        if ready or work != _work(waiting):
            work, since = _work(waiting), time.monotonic()
        elif time.monotonic() - since >= deadline_seconds:
            raise ActorLost(list(waiting.values()), f"did not answer within {deadline_seconds:g} seconds")
        if watch is not None and not ready:
            watch()


def total_work(actors: Iterable[Actor]) -> Work:
    return sum((actor.work for actor in actors), Work())


def _work(calls: Mapping[Any, Actor]) -> list[Work]:
    return [actor.work for actor in calls.values()]


def _answer(actor: Actor, ref: Any) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if error.cause is None:
            raise
        if not isinstance(error.cause, LimrError) and actor.failed_to_start():
            raise ActorLost([actor], f"could not start: {error.cause}") from error
        raise error.cause from error  # as it was raised, with the remote traceback behind it
    except RayActorError as error:
        raise ActorLost([actor], f"died: {_last_words(error)}") from error


def _last_words(error: RayActorError) -> str:
    """What ended the process, without the traceback, which is in its log."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()]
    return " ".join(line for line in lines if line)
