"""PASSRATE: prompts that are solved neither too rarely nor too often.

The pass rate is the share of a prompt's samples that were solved, over all epochs or over the `last` ones. The score is
its distance from the nearer end of the band from `low` to `high`: 0 on an end, most in the middle, negative outside.
"""

from __future__ import annotations

import numpy as np

from limr.errors import LimrError
from limr.selection.strategy import Request, Scores, Strategy, number


def _score(request: Request) -> Scores:
    assert request.matrix is not None
    low, high, last = number(request, "low"), number(request, "high"), int(number(request, "last"))
    if not 0 <= low <= high <= 1 or last < 0:
        raise LimrError(
            f"passrate: low {low:g}, high {high:g}, last {last} make no band; write 0 ≤ low ≤ high ≤ 1, last ≥ 0"
        )
    total = request.matrix.total[:, -last:].sum(axis=1)
    correct = request.matrix.correct[:, -last:].sum(axis=1)
    rate = np.divide(correct, total, out=np.full(len(total), np.nan), where=total > 0)
    values = np.minimum(rate - low, high - rate)
    return Scores(values, values >= 0)


PASSRATE = Strategy(name="passrate", score=_score, parameters={"low": 0.2, "high": 0.8, "last": 0})
