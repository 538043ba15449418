"""The process of one stage: `python -m limr.stage_main INPUT.json`, on a cluster `--config-map NAMESPACE/NAME`.

It reads what the stage is given, calls the code for the stage's kind and says progress and result beside the input.
SIGTERM asks the stage to keep what is done and to end within a minute. Exit status 0: the result says Succeeded,
Suspended or Guarded.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from limr import logs
from limr.channel import BEAT_SECONDS, Channel
from limr.errors import LimrError
from limr.lifeline import die_with_parent
from limr.plan.graph import ENGINE_KINDS
from limr.stage import ArmResult, Interval, Outcome, Reporter, Selected, StageInput, StageKind, StageResult
from limr.stage_files import FileChannel, StageFiles
from limr.stage_log import last_lines
from limr.store import open_store
from limr.store.base import Store
from limr.store.layout import RESULTS, SUMMARY, in_stage
from limr.tracking.reporter import tracked

# Stages with engines: (stage input, store, reporter) -> StageResult; the short ones: (stage input, store) -> outputs.
HANDLERS: Mapping[StageKind, str] = {
    StageKind.PREFLIGHT: "limr.preflight:run_stage",
    StageKind.PROBE: "limr.train:run_stage",
    StageKind.TRAINING: "limr.train:run_stage",
    StageKind.EVALUATION: "limr.evaluate:run_stage",
    StageKind.SELECTION: "limr.selection.stage:run_stage",
    StageKind.REPORT: "limr.report.stage:run_stage",
}

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str], handlers: Mapping[StageKind, str] = HANDLERS) -> int:
    parser = argparse.ArgumentParser(prog="limr.stage_main", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("input", type=Path, nargs="?", help="input.json of the stage's attempt")
    source.add_argument("--config-map", metavar="NAMESPACE/NAME", help="ConfigMap of the stage's attempt")
    parser.add_argument("--parent", type=int, help="end when this process ends; it must be the one that starts us")
    parser.add_argument("--metrics-port", type=int, help="serve Prometheus metrics there; default: not")
    options = parser.parse_args(arguments)
    logs.configure()
    channel = _channel(options)
    signal.signal(signal.SIGTERM, lambda signum, frame: channel.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    sys.excepthook = _crash_reporter(channel)
    if options.parent is not None:
        die_with_parent(options.parent)
    # A laptop's metrics are for that laptop; a Pod's are for who may reach it.
    address = "127.0.0.1" if options.config_map is None else "0.0.0.0"
    result = _result(channel.read_input(), channel, handlers, (address, options.metrics_port))
    _hand_back(result, channel)
    return 1 if result.outcome is Outcome.FAILED else 0


def _channel(options: argparse.Namespace) -> Channel:
    if options.config_map is None:
        return FileChannel(StageFiles(options.input.parent))
    from limr.config_map import ConfigMapChannel  # a laptop need not have the library

    namespace, _, name = options.config_map.partition("/")
    return ConfigMapChannel(namespace, name)


def _crash_reporter(channel: Channel) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """An exception that nobody expected: the traceback for the log, its last line for the result."""

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        logs.log_crash(kind, error, trace)
        message = traceback.format_exception_only(error)[-1].strip()
        _hand_back(_failure("Crashed", message, channel), channel)

    return report


def _hand_back(result: StageResult, channel: Channel) -> None:
    if result.outcome is Outcome.FAILED:
        result = result.model_copy(update={"last_lines": last_lines()})
    channel.finish(result)


def _failure(reason: str, message: str, channel: Channel) -> StageResult:
    return StageResult(outcome=Outcome.FAILED, reason=reason, message=message, ledger=channel.last.ledger)


def _result(
    stage_input: StageInput, channel: Channel, handlers: Mapping[StageKind, str], metrics: tuple[str, int | None]
) -> StageResult:
    channel.beat()
    kind = stage_input.stage.kind
    try:
        handler = _handler(handlers[kind])
        store = open_store(stage_input.root, stage_input.experiment.spec.storage.endpoint)
        if kind in ENGINE_KINDS:
            with (
                _measured(stage_input, channel, *metrics) as measured,
                tracked(stage_input, store, measured) as reporter,
            ):
                result: StageResult = handler(stage_input, store, reporter)
            return result
        with _beating(channel):
            outputs = handler(stage_input, store)
        selected = _selected(store, stage_input.stage.name) if kind is StageKind.SELECTION else None
        report = json.loads(store.get(in_stage(stage_input.stage.name, RESULTS))) if kind is StageKind.REPORT else {}
    except LimrError as error:
        _log.error("%s", error)
        return _failure(error.reason, str(error), channel)
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        reason="Completed",
        message=" ".join(report.get("problems", [])),
        outputs=outputs,
        selected=selected,
        results=_table(report.get("table", [])),
    )


def _handler(path: str) -> Callable[..., Any]:
    module, name = path.split(":")
    try:
        handler: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "limr":
            raise
        raise LimrError(
            f"the package {error.name} is not installed, which {module} needs; "
            "install limr with the extra trainer-cpu or trainer-gpu"
        ) from error
    return handler


@contextmanager
def _measured(stage_input: StageInput, channel: Channel, address: str, port: int | None) -> Iterator[Reporter]:
    """What the stage is to speak to, so that what it says can be scraped."""
    if port is None:
        yield channel
        return
    from limr.metrics import StageMetrics, served  # a laptop need not have the library

    metrics = StageMetrics(stage_input, channel)
    with served(metrics, address, port):
        yield metrics


@contextmanager
def _beating(channel: Channel) -> Iterator[None]:
    """For stages that say nothing while they work: a short one that lives is taken to be at work."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            channel.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _selected(store: Store, stage: str) -> Selected:
    summary = json.loads(store.get(in_stage(stage, SUMMARY)))
    foreign = summary["dropped_because"]["not_in_dataset"]  # seen in a probe or scores of other data
    return Selected(prompts=summary["selected"], of=summary["prompts"] - foreign)


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[ArmResult, ...]:
    """What a person reads first of the report's results: accuracies, their mean over benchmarks, and the cost."""
    return tuple(
        ArmResult(
            name=row["name"],
            prompts=row["prompts"],
            benchmarks=_intervals(row["benchmarks"] | ({"average": row["average"]} if row.get("average") else {})),
            device_hours=row["device_hours"],
        )
        for row in rows
    )


def _intervals(benchmarks: Mapping[str, Mapping[str, float]]) -> dict[str, Interval]:
    return {
        name: Interval(mean=value["mean"], low=value["low"], high=value["high"]) for name, value in benchmarks.items()
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
