"""The process of one stage: `python -m limr.stage_main INPUT.json`.

It reads what the stage is given, calls the code for the stage's kind and writes progress.json and result.json beside
the input. SIGTERM asks the stage to stop at its next checkpoint. Exit status 0: the result says Succeeded or Suspended.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from limr import stage_files
from limr.errors import LimrError
from limr.lifeline import die_with_parent
from limr.plan.graph import ENGINE_KINDS
from limr.stage import ArmResult, Interval, Outcome, Selected, StageInput, StageKind, StageResult
from limr.stage_files import FileReporter, StageFiles
from limr.store import open_store
from limr.store.base import Store
from limr.store.layout import RESULTS, SUMMARY, in_stage

# Stages with engines: (stage input, store, reporter) -> StageResult; the short ones: (stage input, store) -> outputs.
HANDLERS: Mapping[StageKind, str] = {
    StageKind.PROBE: "limr.train:run_stage",
    StageKind.TRAINING: "limr.train:run_stage",
    StageKind.EVALUATION: "limr.evaluate:run_stage",
    StageKind.SELECTION: "limr.selection.stage:run_stage",
    StageKind.REPORT: "limr.report.stage:run_stage",
}

BEAT_SECONDS = 5.0


def main(arguments: Sequence[str], handlers: Mapping[StageKind, str] = HANDLERS) -> int:
    parser = argparse.ArgumentParser(prog="limr.stage_main", description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("--parent", type=int, help="end when this process ends; it must be the one that starts us")
    options = parser.parse_args(arguments)
    files = StageFiles(options.input.parent)
    reporter = FileReporter(files.progress)
    signal.signal(signal.SIGTERM, _stopper(reporter))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    sys.excepthook = _crash_reporter(files, reporter)
    if options.parent is not None:
        die_with_parent(options.parent)
    result = _result(stage_files.read_input(options.input), reporter, handlers)
    stage_files.write(files.result, result.to_json())
    return 1 if result.outcome is Outcome.FAILED else 0


def _stopper(reporter: FileReporter) -> Callable[[int, FrameType | None], None]:
    return lambda signum, frame: reporter.stop()


def _crash_reporter(
    files: StageFiles, reporter: FileReporter
) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """An exception that nobody expected: the traceback for the log, its last line for the result."""

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        traceback.print_exception(kind, error, trace)
        message = traceback.format_exception_only(error)[-1].strip()
        stage_files.write(files.result, _failure("Crashed", message, reporter).to_json())

    return report


def _failure(reason: str, message: str, reporter: FileReporter) -> StageResult:
    return StageResult(outcome=Outcome.FAILED, reason=reason, message=message, ledger=reporter.last.ledger)


def _result(stage_input: StageInput, reporter: FileReporter, handlers: Mapping[StageKind, str]) -> StageResult:
    reporter.beat()
    kind = stage_input.stage.kind
    try:
        handler = _handler(handlers[kind])
        store = open_store(stage_input.root, stage_input.experiment.spec.storage.endpoint)
        if kind in ENGINE_KINDS:
            result: StageResult = handler(stage_input, store, reporter)
            return result
        with _beating(reporter):
            outputs = handler(stage_input, store)
        selected = _selected(store, stage_input.stage.name) if kind is StageKind.SELECTION else None
        results = _table(store, stage_input.stage.name) if kind is StageKind.REPORT else ()
    except LimrError as error:
        print(f"limr: {error}", file=sys.stderr)
        return _failure(error.reason, str(error), reporter)
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        reason="Completed",
        message="",
        outputs=outputs,
        selected=selected,
        results=results,
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
def _beating(reporter: FileReporter) -> Iterator[None]:
    """For stages that say nothing while they work: a short one that lives is taken to be at work."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            reporter.beat()

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


def _table(store: Store, stage: str) -> tuple[ArmResult, ...]:
    """What a person reads first of the report's results: accuracies, their mean over benchmarks, and the cost."""
    rows = json.loads(store.get(in_stage(stage, RESULTS)))["table"]
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
