"""VARIANCE: how much a prompt's accuracy moved from epoch to epoch.

The population variance over the epochs in which the prompt was seen, which 1-shot RLVR (arXiv 2504.20571) ranks prompts
by. It is between 0 and 1/4 and has no natural threshold.
"""

from __future__ import annotations

import numpy as np

from limr.selection.strategy import Request, Scores, Strategy

MIN_EPOCHS = 2


def _score(request: Request) -> Scores:
    assert request.matrix is not None
    seen = request.matrix.total > 0
    count = seen.sum(axis=1)
    weight = 1 / np.maximum(count, 1)
    accuracy = np.where(seen, request.matrix.accuracy, 0.0)
    mean = accuracy.sum(axis=1) * weight
    values = np.where(seen, (accuracy - mean[:, None]) ** 2, 0.0).sum(axis=1) * weight
    values[count < MIN_EPOCHS] = np.nan
    return Scores(values, ~np.isnan(values))


VARIANCE = Strategy(name="variance", score=_score, ranks_only=True)
