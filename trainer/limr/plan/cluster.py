"""How long the cluster that stages share (schedule.reuseCluster) is kept; it is made with an attempt that needs it."""

from __future__ import annotations

from collections.abc import Mapping

from limr.plan.graph import ENGINE_KINDS
from limr.plan.status import ACTIVE, StageState, StageStatus


def keeps_cluster(stages: Mapping[str, StageStatus], may_start: bool) -> bool:
    """Whether a stage works in it, or one is still to come and `may_start`: then also over the pause before a retry.

    Not with an attempt that was ended by force: it was silent or late, and nobody knows what still lives of it.
    """
    states = {stage.state for stage in stages.values() if stage.kind in ENGINE_KINDS}
    if StageState.TERMINATING in states:
        return False
    return bool(states & ACTIVE) or (may_start and StageState.PENDING in states)
