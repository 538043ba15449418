"""`limr run` with learners that take seconds for each minibatch: `slow_stages.py run FILE`.

A step is finished at a stop only where that takes a second, so that a test need not wait for what takes half a minute
on real models.
"""

from __future__ import annotations

import sys
from pathlib import Path

from limr import stopping
from limr.local.command import execute
from limr.stage import Reporter, StageInput, StageKind, StageResult
from limr.stage_main import HANDLERS
from limr.stage_main import main as stage_main
from limr.store.base import Store

STAGE_COMMAND = (sys.executable, __file__, "stage")


def train_slowly(stage_input: StageInput, store: Store, reporter: Reporter) -> StageResult:
    from limr.train import run_stage

    stopping.FINISH_SECONDS = 1.0
    return run_stage(stage_input, store, reporter, learner="slow_learner:SlowLearner")


if __name__ == "__main__":
    if sys.argv[1] == "stage":
        slow = {StageKind.PROBE: "slow_stages:train_slowly", StageKind.TRAINING: "slow_stages:train_slowly"}
        sys.exit(stage_main(sys.argv[2:], {**HANDLERS, **slow}))
    sys.exit(execute(Path(sys.argv[2]), Path("."), (), STAGE_COMMAND))
