"""A stage's history in a real S3 server that fails one request in ten: nothing lost, nothing doubled."""

from __future__ import annotations

import multiprocessing
import random
import time

import pytest
from servers.s3_server import FlakyS3
from servers.training import STAGE, Training, check_history, check_nothing_else_is_there

from limr.store import open_store
from limr.store.base import Store
from limr.store.journal import Fenced
from limr.store.manifest import read_manifest

pytestmark = pytest.mark.integration

STEPS = 24
KILLS = 4
LARGE = 9 << 20  # bytes of a checkpoint that goes up in parts


def _train(uri: str, endpoint: str, attempt: int, seconds_per_step: float) -> None:
    training = Training(open_store(uri, endpoint), attempt, padding=LARGE)
    if training.journal.manifest.finished:
        return
    while len(training.weights) < STEPS:
        time.sleep(seconds_per_step)
        training.step(texts=True)
        if len(training.weights) % 2 == 0:
            training.commit()
    training.finish()


def test_a_whole_stage_over_a_flaky_server(flaky_s3: FlakyS3) -> None:
    _train(flaky_s3.uri, flaky_s3.endpoint, 1, 0)
    direct = open_store(flaky_s3.uri, flaky_s3.direct_endpoint)
    assert check_history(direct) == [[step, 1] for step in range(1, STEPS + 1)]
    assert read_manifest(direct, STAGE).finished
    check_nothing_else_is_there(direct)
    assert flaky_s3.proxy.faults


def _wait_for_steps(store: Store, attempt: int, count: int) -> None:
    end = time.monotonic() + 120
    while len(list(store.list(f"{STAGE}/attempt-{attempt}/trajectories/"))) < count:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_processes_killed_at_any_moment_over_a_flaky_server(flaky_s3: FlakyS3) -> None:
    direct = open_store(flaky_s3.uri, flaky_s3.direct_endpoint)
    context = multiprocessing.get_context("spawn")
    moments = random.Random(7)
    longest: list[list[int]] = []
    for attempt in range(1, KILLS + 2):
        process = context.Process(target=_train, args=(flaky_s3.uri, flaky_s3.endpoint, attempt, 0.1))
        process.start()
        if attempt <= KILLS:
            _wait_for_steps(direct, attempt, moments.randint(1, 5))
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
        process.join(120)
        history = check_history(direct)
        assert history[: len(longest)] == longest, "what a checkpoint stood behind has changed"
        longest = history
    assert process.exitcode == 0
    assert [step for step, _ in longest] == list(range(1, STEPS + 1))
    check_nothing_else_is_there(direct)


def test_stale_writers_over_a_flaky_server(flaky_s3: FlakyS3) -> None:
    store = open_store(flaky_s3.uri, flaky_s3.endpoint)
    direct = open_store(flaky_s3.uri, flaky_s3.direct_endpoint)
    writers: list[Training] = []
    for attempt in range(1, 6):
        fresh = Training(store, attempt)
        for stale in writers:
            stale.step()
            with pytest.raises(Fenced):
                stale.commit()
        for _ in range(2):
            fresh.step()
        fresh.commit()
        writers.append(fresh)
        assert check_history(direct) == [[step, (step + 1) // 2] for step in range(1, 2 * attempt + 1)]
    writers[-1].finish()
    check_nothing_else_is_there(direct)
