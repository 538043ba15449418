"""A stage's reporter that also tells the trackers of its spec."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from limr.errors import LimrError
from limr.spec import Tracker
from limr.stage import Progress, Reporter, StageInput
from limr.store.base import Store
from limr.store.manifest import Manifest, read_manifest, rounded
from limr.tracking.libraries import missing_libraries
from limr.tracking.names import tracker_metrics
from limr.tracking.run import run_of
from limr.tracking.sink import Ending, Record, Sink
from limr.tracking.trackers import PATIENT, open_tracker
from limr.tracking.worker import Worker

CLOSE_SECONDS = 30.0  # at most, at the end of a stage, for all trackers together


@contextmanager
def tracked(stage_input: StageInput, store: Store, reporter: Reporter) -> Iterator[Reporter]:
    """The reporter for a stage to speak to. Raises LimrError when the library of a tracker is not installed."""
    spec = stage_input.experiment.spec
    for path, sentence in missing_libraries(spec):
        raise LimrError(f"{path}: {sentence}")
    if not spec.tracking:
        yield reporter
        return
    tracking = TrackedReporter(stage_input, store, reporter)
    ending = Ending.FAILED
    try:
        yield tracking
        ending = tracking.ending
    finally:
        tracking.close(ending)


class TrackedReporter:
    """A `limr.stage.Reporter` that passes on what it hears. The trackers begin with the first step."""

    def __init__(self, stage_input: StageInput, store: Store, reporter: Reporter) -> None:
        self._input, self._store, self._reporter = stage_input, store, reporter
        self._workers: list[Worker] = []
        self.ending = Ending.STOPPED

    def progress(self, progress: Progress) -> None:
        self.ending = Ending.FINISHED if progress.step == progress.steps else Ending.STOPPED
        self._reporter.progress(progress)

    def step(self, metrics: Mapping[str, float], responses: Mapping[str, Collection[float]]) -> None:
        self._reporter.step(metrics, responses)
        step = round(metrics["step"])
        if not self._workers:
            trackers = self._input.experiment.spec.tracking
            self._workers = [self._worker(tracker, before=step) for tracker in trackers]
        record = Record(step, time.time(), tracker_metrics(rounded(metrics)))
        for worker in self._workers:
            worker.put(record)

    def beat(self) -> None:
        self._reporter.beat()

    def stop_requested(self) -> bool:
        return self._reporter.stop_requested()

    def close(self, ending: Ending) -> None:
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in self._workers:
            worker.close(ending)
        for worker in self._workers:
            worker.join(deadline)

    def _worker(self, tracker: Tracker, before: int) -> Worker:
        stage = self._input.stage
        began = time.time()

        def open_() -> Sink:
            return open_tracker(tracker, run_of(self._input.experiment, stage, self._store), self._store, stage.name)

        def history() -> list[Record]:
            """What other attempts have done, or this one before its trackers began."""
            records = committed(read_manifest(self._store, stage.name), until=began)
            return [record for record in records if record.step < before]

        return Worker(tracker.kind, open_, history, PATIENT[tracker.kind])


def committed(manifest: Manifest, until: float) -> list[Record]:
    """The steps in the manifest. When they were done it does not say: they get times shortly before `until`."""
    ago = range(len(manifest.steps), 0, -1)
    return [
        Record(step.step, until - back / 1000, tracker_metrics(step.metrics))
        for step, back in zip(manifest.steps, ago, strict=True)
    ]
