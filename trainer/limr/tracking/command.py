"""`limr track FILE`: what trackers have missed of finished stages, sent again from the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from limr.errors import LimrError
from limr.plan.graph import graph
from limr.spec import Experiment, Tracker
from limr.stage import StageKind, StageRef
from limr.store import open_store
from limr.store.base import NotFound, Store
from limr.store.manifest import read_manifest
from limr.tracking.libraries import missing_libraries
from limr.tracking.reporter import committed
from limr.tracking.run import run_of
from limr.tracking.sink import Ending, Record
from limr.tracking.trackers import open_tracker
from limr.validate import load, resolved
from limr.validate.options import file_argument, set_option, workdir_option


@click.command()
@file_argument
@workdir_option
@set_option
def track(file: Path, workdir: Path, overrides: tuple[str, ...]) -> None:
    """Send the trackers in spec.tracking those steps of finished stages that they do not have.

    Of an experiment on a cluster give the stored resource (kubectl get limr NAME -o yaml), and its credentials in the
    environment.
    """
    experiment = resolved(load(file, overrides), file.absolute().parent, workdir.absolute())
    if not experiment.spec.tracking:
        raise LimrError(f"{file}: spec.tracking: names no tracker; add one")
    for path, sentence in missing_libraries(experiment.spec):
        raise LimrError(f"{file}: {path}: {sentence}")
    store = open_store(experiment.root, experiment.spec.storage.endpoint)
    for stage in graph(experiment):
        if stage.ref.kind in (StageKind.PROBE, StageKind.TRAINING):
            _track(experiment, store, stage.ref)


def _track(experiment: Experiment, store: Store, stage: StageRef) -> None:
    try:
        manifest = read_manifest(store, stage.name)
    except NotFound:
        click.echo(f"{stage.name}: has not begun")
        return
    if not manifest.finished:
        click.echo(f"{stage.name}: is not finished; its next attempt sends what is missing")
        return
    for tracker in experiment.spec.tracking:
        try:
            sent = _send(tracker, experiment, store, stage, committed(manifest, until=time.time()))
        except Exception as error:
            raise LimrError(f"{stage.name}: {tracker.kind}: {type(error).__name__}: {error}") from error
        click.echo(f"{stage.name}: {tracker.kind}: {sent} of {len(manifest.steps)} steps sent, the others were there")


def _send(tracker: Tracker, experiment: Experiment, store: Store, stage: StageRef, records: Sequence[Record]) -> int:
    """How many steps were missing. Raises whatever the tracker's library raises."""
    sink = open_tracker(tracker, run_of(experiment, stage, store), store, stage.name)
    missing = [record for record in records if record.step >= sink.next_step]
    for record in missing:
        sink.log(record)
    sink.close(Ending.FINISHED)
    return len(missing)
