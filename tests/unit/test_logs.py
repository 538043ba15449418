"""What a process of ours logs, as it comes out of its standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

SECONDS = 60
SETUP = """
import asyncio, logging, threading, warnings
from limr import logs
logs.configure()
log = logging.getLogger("limr.somewhere")
"""


def logged(program: str, form: str = "json", level: str = "INFO") -> tuple[int, str]:
    environment = {**os.environ, "LIMR_LOG_FORMAT": form, "LIMR_LOG_LEVEL": level}
    done = subprocess.run(
        [sys.executable, "-c", SETUP + program],
        **{"capture_output": True, "text": True, "timeout": SECONDS, "check": False},
        env=environment,
    )
    return done.returncode, done.stderr


def records(program: str, **options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(program, **options)[1].splitlines()]


def test_a_record_says_when_who_and_what() -> None:
    (record,) = records("log.info('a\\n%s', '\"b\"', extra={'stage': 'probe'})")
    assert next(iter(record)) == "time"
    assert datetime.fromisoformat(record.pop("time")).utcoffset() == timedelta(0)
    assert record == {"level": "INFO", "logger": "limr.somewhere", "message": 'a\n"b"', "stage": "probe"}


@pytest.mark.parametrize(
    ("program", "last", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero", "ended by an exception that nobody expected"),
        ("threading.Thread(target=lambda: 1 / 0, name='t').start()", "ZeroDivisionError: division by zero", "t: ended"),
        ("try: 1 / 0\nexcept: log.exception('no')", "ZeroDivisionError: division by zero", "no"),
    ],
    ids=["main", "thread", "caught"],
)
def test_an_exception_stays_in_one_record(program: str, last: str, message: str) -> None:
    (record,) = records(program)
    assert record["exception"].splitlines()[-1] == last
    assert record["message"].startswith(message)


def test_what_the_work_on_an_experiment_logs_names_it() -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from limr_operator.work_queue import WorkQueue
tries, tried_again = [], asyncio.Event()
async def work(name):
    tries.append(name)
    if len(tries) == 4:
        tried_again.set()
    if tries.count(name) > 1:
        return None
    logs.about(namespace="rl", experiment=name)
    log.info("begins")
    await asyncio.get_running_loop().run_in_executor(None, copy_context().run, log.info, "in a thread")
    1 / 0
async def main():
    queue = WorkQueue(work, 2)
    for name in "ab":
        queue.wake(name)
    running = asyncio.create_task(queue.run())
    await tried_again.wait()
    log.info("end")
    running.cancel()
asyncio.run(main())
"""
    *about, end = records(program)
    for name in "ab":
        said = [record["message"] for record in about if (record["namespace"], record["experiment"]) == ("rl", name)]
        assert said == ["begins", "in a thread", "it failed and will be tried again in 0.5 s"]
    assert "experiment" not in end


def test_only_warnings_of_other_libraries_are_logged() -> None:
    program = "logging.getLogger('x').info('no'); logging.getLogger('x').warning('yes'); warnings.warn('and this')"
    assert [record["logger"] for record in records(program)] == ["x", "py.warnings"]
    assert records(program, level="ERROR") == []
    assert records("log.debug('deep')", level="DEBUG")


def test_what_kopf_says_names_its_object() -> None:
    reference = {"kind": "LIMRExperiment", "namespace": "rl", "name": "demo", "uid": "1"}
    (record,) = records(
        f"logging.getLogger('kopf.objects').warning('it', extra={{'k8s_ref': {reference}, 'settings': log}})"
    )
    assert (record["namespace"], record["experiment"]) == ("rl", "demo")
    assert set(record) == {"time", "level", "logger", "message", "namespace", "experiment"}


def test_text_is_for_a_person() -> None:
    _, text = logged("logs.about(namespace='rl', experiment='demo'); log.info('begun'); 1 / 0", form="text")
    first, *others = text.splitlines()
    assert first.endswith(" INFO limr.somewhere rl/demo: begun")
    assert others[-1] == "ZeroDivisionError: division by zero"
