"""W&B: a run on its server, or a folder for `wandb sync` where there is none or it is not wanted.

Steps that the server has stay as they are. A folder holds all steps, so that the last attempt's is enough.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limr.spec import Tracker
from limr.tracking.folder import TrackingFolder
from limr.tracking.run import Run
from limr.tracking.sink import Ending, Record

FOLDER = "wandb"  # W&B itself calls it so
BEGIN_SECONDS = 15.0  # for a server to answer
START_SECONDS = 60.0  # for W&B's own process on a busy machine
FINISH_SECONDS = 10.0  # for what is still on its way at the end

_log = logging.getLogger(__name__)


def open_wandb(run: Run, tracker: Tracker, folder: Callable[[], TrackingFolder]) -> WandbOnline | WandbOffline:
    """What the spec asks for; offline too when the server cannot be reached or refuses."""
    if tracker.mode != "offline":
        try:
            return WandbOnline(run, tracker, folder)
        except Exception as error:
            words = str(error).splitlines() or [type(error).__name__]
            _log.warning("W&B: going on offline, for `wandb sync`, because of: %s", words[0][:300])
            _end_process()  # it keeps the id of the run that could not begin
    return WandbOffline(run, tracker, folder())


class WandbOnline:
    def __init__(self, run: Run, tracker: Tracker, folder: Callable[[], TrackingFolder]) -> None:
        self._folder = folder
        self._scratch = tempfile.TemporaryDirectory(prefix="limr-wandb-")
        self._run = _begun(run, tracker, Path(self._scratch.name), BEGIN_SECONDS, mode="online", resume="allow")
        self.next_step = max(1, self._run.step)

    def log(self, record: Record) -> None:
        self._run.log(dict(record.metrics), step=record.step, commit=True)

    def close(self, ending: Ending) -> None:
        """What has not arrived by then stays in the store."""
        try:
            self._run.finish(exit_code=int(ending is Ending.FAILED))
        except TimeoutError:
            _log.warning("W&B: not all steps have arrived; send them by `wandb sync`")
            _end_process()
            kept = self._folder()
            shutil.copytree(Path(self._scratch.name) / FOLDER, kept.path, dirs_exist_ok=True)
            kept.close()
        else:
            self._folder().discard()  # an earlier attempt may have been offline
        self._scratch.cleanup()


class WandbOffline:
    def __init__(self, run: Run, tracker: Tracker, folder: TrackingFolder) -> None:
        self.next_step = 1
        self._folder = folder
        self._run = _begun(run, tracker, folder.path.parent, START_SECONDS, mode="offline")

    def log(self, record: Record) -> None:
        self._run.log(dict(record.metrics), step=record.step, commit=True)
        self._folder.written()

    def close(self, ending: Ending) -> None:
        self._run.finish(exit_code=int(ending is Ending.FAILED))
        _end_process()
        self._folder.close()


def _end_process() -> None:
    """Ends W&B's own process; the next run starts another. Only then all that a run wrote is in its files."""
    import wandb

    wandb.teardown()


def _begun(run: Run, tracker: Tracker, place: Path, seconds: float, **how: Any) -> Any:
    """A wandb.Run that tells W&B about the steps and about nothing else."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    import wandb

    settings = wandb.Settings(
        base_url=tracker.base_url or os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"),
        init_timeout=seconds,
        login_timeout=seconds,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        console="off",
        silent=True,
        symlink=False,
        disable_code=True,
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    return wandb.init(
        project=tracker.project or "limr",
        entity=tracker.entity,
        id=run.id,
        name=run.name,
        group=run.group,
        job_type=run.kind,
        tags=[f"{name}={value}"[:64] for name, value in run.tags.items()],
        config=dict(run.config),
        dir=str(place),
        reinit="create_new",
        settings=settings,
        **how,
    )
