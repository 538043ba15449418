"""Ray actors: started without loading their libraries into the driver, and never waited for without a deadline."""

from __future__ import annotations

import importlib
import logging
import os
import re
import signal
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from limr.errors import LimrError


class ActorLost(LimrError):
    """A process of the run died or did not answer in time. The stage can be tried again from its checkpoint."""

    reason = "ProcessLost"

    def __init__(self, who: str, why: str) -> None:
        super().__init__(f"{who} {why}")
        self.who = who


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
    """Makes the object in its own process: vLLM and DeepSpeed take seconds and gigabytes that the driver spares."""

    def __init__(self, factory: str, arguments: Sequence[Any]) -> None:
        module, name = factory.split(":")
        self._target = getattr(importlib.import_module(module), name)(*arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._target, method)(*arguments)


class Actor:
    """One object of class `factory` ("module:Class") in a process of its own."""

    def __init__(self, who: str, factory: str, arguments: Sequence[Any], options: dict[str, Any]) -> None:
        self.who = who
        self._host = ray.remote(_Host).options(**options).remote(factory, arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        """Starts `method` and returns the reference of its result; Ray references among the arguments are resolved."""
        return self._host.call.remote(method, *arguments)

    def kill(self) -> None:
        ray.kill(self._host)


def wait(actor: Actor, ref: Any, deadline_seconds: float) -> Any:
    """The value behind `ref`, a call of `actor`.

    Raises ActorLost when the process died or stayed silent for `deadline_seconds`, and what the call itself raised.
    """
    try:
        return ray.get(ref, timeout=deadline_seconds)
    except GetTimeoutError:
        raise ActorLost(actor.who, f"did not answer within {deadline_seconds:g} seconds") from None
    except RayTaskError as error:
        if error.cause is None:
            raise
        raise error.cause from error  # as it was raised, with the remote traceback behind it
    except RayActorError as error:
        raise ActorLost(actor.who, f"died: {_last_words(error)}") from error


def _last_words(error: RayActorError) -> str:
    """What ended the process, without the traceback, which is in its log."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()]
    told = [line for line in lines if line]
    return told[-1] if "creation task" in told[0] else " ".join(told)


def call_all(actors: Sequence[Actor], method: str, *arguments: Any, deadline_seconds: float) -> list[Any]:
    """Calls `method` on all actors at once and returns their answers in order, as `call_each` does."""
    return call_each([(actor, (method, *arguments)) for actor in actors], deadline_seconds)


def call_each(calls: Sequence[tuple[Actor, tuple[Any, ...]]], deadline_seconds: float) -> list[Any]:
    """Makes all calls, (method, arguments…) of an actor each, at once and returns their answers in order.

    The actors may wait for each other (collectives), so the first one that is lost or fails ends the wait for all.
    """
    waiting = {actor.call(*call): actor for actor, call in calls}
    answers: dict[str, Any] = {}
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=deadline_seconds)
        if not ready:
            silent = ", ".join(actor.who for actor in waiting.values())
            raise ActorLost(silent, f"did not answer within {deadline_seconds:g} seconds")
        actor = waiting.pop(ready[0])
        answers[actor.who] = wait(actor, ready[0], deadline_seconds)
    return [answers[actor.who] for actor, _ in calls]
