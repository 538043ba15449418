"""RANDOM, the honest control: every prompt is as likely as any other."""

from __future__ import annotations

import numpy as np

from limr.selection.strategy import Request, Scores, Strategy


def _score(request: Request) -> Scores:
    """A uniform number in [0, 1) for each prompt: the n largest are a draw of n without replacement.

    A smaller draw of the same seed is part of a larger one. The numbers depend on the seed and the prompts only.
    """
    count = len(request.prompt_ids)
    return Scores(np.random.Generator(np.random.PCG64(request.seed)).random(count), np.ones(count, np.bool_))


RANDOM = Strategy(name="random", score=_score, needs_trajectories=False, seeded=True, ranks_only=True)
