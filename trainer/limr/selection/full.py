"""FULL: every prompt."""

from __future__ import annotations

import numpy as np

from limr.selection.strategy import Request, Scores, Strategy


def _score(request: Request) -> Scores:
    count = len(request.prompt_ids)
    return Scores(np.ones(count), np.ones(count, np.bool_))


FULL = Strategy(name="full", score=_score, needs_trajectories=False)
