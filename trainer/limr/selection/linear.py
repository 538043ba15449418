"""LINEAR: how steadily a prompt improves. Our own definition: the paper has a baseline of this name but no formula.

The score is the correlation of a prompt's accuracy with the epoch's number over the epochs in which it was seen, that
is √R² of its least-squares line, negative where the line falls. 1: every epoch as much better than the one before.
0: no trend, also for prompts that never change. Unlike LIM it does not look at other prompts.
"""

from __future__ import annotations

import numpy as np

from limr.selection.strategy import Request, Scores, Strategy

MIN_EPOCHS = 3  # any two points lie on a line


def _score(request: Request) -> Scores:
    assert request.matrix is not None
    matrix = request.matrix
    seen = matrix.total > 0
    count = seen.sum(axis=1)
    weight = 1 / np.maximum(count, 1)
    epoch = np.arange(1, matrix.epochs + 1, dtype=np.float64)
    accuracy = np.where(seen, matrix.accuracy, 0.0)
    time = np.where(seen, epoch - (seen @ epoch * weight)[:, None], 0.0)
    rise = np.where(seen, accuracy - (accuracy.sum(axis=1) * weight)[:, None], 0.0)
    spread = np.sqrt((time**2).sum(axis=1) * (rise**2).sum(axis=1))
    changes = spread > 1e-12  # a constant accuracy leaves rounding errors
    values = np.divide((time * rise).sum(axis=1), spread, out=np.zeros(len(count)), where=changes)
    values[count < MIN_EPOCHS] = np.nan
    return Scores(np.clip(values, -1, 1), ~np.isnan(values))


LINEAR = Strategy(name="linear", score=_score, default_threshold=0.7)
