"""From an entry of spec.tracking to the tracker it names. Its library is imported when it is opened."""

from __future__ import annotations

from limr.spec import Tracker, TrackerKind
from limr.store.base import Store
from limr.tracking.folder import TrackingFolder
from limr.tracking.run import Run
from limr.tracking.sink import Sink

# Whether a failure may be only a server's, so that trying again helps. W&B's library does that itself.
PATIENT = {TrackerKind.TENSORBOARD: False, TrackerKind.WANDB: False, TrackerKind.MLFLOW: True}


def open_tracker(tracker: Tracker, run: Run, store: Store, stage: str) -> Sink:
    """Raises whatever its library raises."""

    def folder() -> TrackingFolder:
        return TrackingFolder(store, stage, tracker.kind)

    match tracker.kind:
        case TrackerKind.TENSORBOARD:
            from limr.tracking.to_tensorboard import TensorBoardSink

            return TensorBoardSink(run, folder())
        case TrackerKind.WANDB:
            from limr.tracking.to_wandb import open_wandb

            return open_wandb(run, tracker, folder)
        case TrackerKind.MLFLOW:
            from limr.tracking.to_mlflow import MlflowSink

            return MlflowSink(run, tracker)
