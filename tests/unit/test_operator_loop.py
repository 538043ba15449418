"""The queue, the lease and the liveness, each by itself."""

from __future__ import annotations

import asyncio
import copy
from itertools import pairwise
from typing import Any

import pytest

from limr_operator import lease as leases
from limr_operator.api import ApiError, Conflict, NotFound
from limr_operator.lease import Lease, NotLeading
from limr_operator.liveness import LONGEST_LAG_SECONDS, Liveness
from limr_operator.work_queue import WorkQueue


def never() -> bool:
    return False


def run_queue(
    work: Any, wakes: list[tuple[str, float]], workers: int = 2, seconds: float = 0.3, until: Any = never
) -> None:
    """For so many seconds, or until something is so: then what takes its time is given `seconds` generously."""

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(work, workers)
        task = asyncio.create_task(queue.run())
        for key, after in wakes:
            queue.wake(key, after)
        deadline = asyncio.get_running_loop().time() + seconds
        while not until() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_a_key_is_worked_on_once_for_many_wake_ups() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        done.append(key)

    run_queue(work, [("a", 0.0), ("a", 0.0), ("b", 0.0), ("a", 0.1), ("late", 9.0)])
    assert sorted(done) == ["a", "b"]


def test_one_worker_at_a_time_has_a_key_and_a_wake_up_meanwhile_is_not_lost() -> None:
    running, most, done = 0, 0, 0

    async def work(key: str) -> float | None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done += 1
        return 0.0 if done < 5 else None

    run_queue(work, [("a", 0.0)], workers=4, seconds=30, until=lambda: done == 5)
    assert (most, done) == (1, 5)


def test_other_keys_are_worked_on_while_one_is_slow() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        if key == "slow":
            await asyncio.sleep(5)
        done.append(key)

    run_queue(work, [("slow", 0.0), *((f"k{i}", 0.01 * i) for i in range(9))], seconds=4, until=lambda: len(done) == 9)
    assert len(done) == 9


def test_what_fails_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limr_operator.work_queue.FIRST_PAUSE", 0.02)
    times: list[float] = []

    async def work(key: str) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            raise RuntimeError("no")

    run_queue(work, [("a", 0.0)], seconds=30, until=lambda: len(times) == 4)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 4
    assert pauses[0] < pauses[1] < pauses[2]


class OneLease:
    """The API's part: one object with a version."""

    def __init__(self) -> None:
        self.record: dict[str, Any] | None = None
        self.away = False

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        if self.away:
            raise ApiError(0, "no answer")
        if self.record is None:
            raise NotFound(404, "none")
        return copy.deepcopy(self.record)

    def create(self, record: dict[str, Any]) -> None:
        assert self.record is None
        self._store(record)

    def replace(self, record: dict[str, Any]) -> None:
        assert self.record is not None
        if record["metadata"].get("resourceVersion") != self.record["metadata"]["resourceVersion"]:
            raise Conflict(409, "changed")
        self._store(record)

    def _store(self, record: dict[str, Any]) -> None:
        version = int(self.record["metadata"]["resourceVersion"]) + 1 if self.record else 1
        self.record = copy.deepcopy(record)
        self.record["metadata"]["resourceVersion"] = str(version)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replicas(clock: Clock) -> tuple[OneLease, Lease, Lease]:
    api = OneLease()
    first, second = (Lease(api, "limr", "operator", name, clock) for name in ("a", "b"))  # type: ignore[arg-type]
    return api, first, second


def test_one_leads_and_the_other_follows(clock: Clock) -> None:
    _, first, second = replicas(clock)
    assert first.try_to_lead()
    assert not second.try_to_lead()
    first.check()
    with pytest.raises(NotLeading):
        second.check()
    for _ in range(20):
        clock.now += leases.RETRY_SECONDS
        assert first.try_to_lead()
        assert not second.try_to_lead()


def test_a_paused_leader_knows_before_another_takes_over(clock: Clock) -> None:
    _, first, second = replicas(clock)
    first.try_to_lead()
    second.try_to_lead()
    paused_at = clock.now
    while not second.try_to_lead():
        clock.now += leases.RETRY_SECONDS
    assert clock.now - paused_at <= 20
    with pytest.raises(NotLeading):
        first.check()
    assert not first.try_to_lead()


def test_a_leader_without_the_api_stops_writing_in_time(clock: Clock) -> None:
    api, first, _ = replicas(clock)
    first.try_to_lead()
    api.away = True
    clock.now += leases.STAND_SECONDS - 0.1
    assert first.try_to_lead()
    clock.now += 0.2
    assert not first.try_to_lead()
    with pytest.raises(NotLeading):
        first.check()


def test_a_released_lease_is_taken_at_once(clock: Clock) -> None:
    _, first, second = replicas(clock)
    first.try_to_lead()
    first.release()
    assert second.try_to_lead()
    with pytest.raises(NotLeading):
        first.check()


def test_watches_that_deliver_nothing_are_noticed(clock: Clock) -> None:
    liveness = Liveness(clock)
    liveness.read("2026-01-01T00:00:00.000000Z")
    liveness.delivered("2026-01-01T00:00:00.000000Z")
    clock.now += 2 * LONGEST_LAG_SECONDS
    assert liveness.alive  # nothing new was there to deliver
    liveness.read("2026-01-01T00:00:02.000000Z")
    clock.now += LONGEST_LAG_SECONDS + 1
    liveness.read("2026-01-01T00:01:02.000000Z")
    assert not liveness.alive
    liveness.delivered("2026-01-01T00:01:02.000000Z")
    assert liveness.alive
