"""The learning rate over updates: linear warm-up, then a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

from __future__ import annotations

import math


def learning_rate_factor(update: int, total_updates: int, warmup_updates: int, min_ratio: float) -> float:
    """What the learning rate is multiplied with in `update`, counted from 1.

    update / warmup_updates up to 1, reached at the last update of the warm-up; from there half a cosine down to
    `min_ratio`, reached at `total_updates` and kept after it.
    """
    if update <= warmup_updates:
        return update / warmup_updates
    decay_updates = total_updates - warmup_updates
    progress = min((update - warmup_updates) / decay_updates, 1.0) if decay_updates > 0 else 1.0
    return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2
