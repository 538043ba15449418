"""Numbers as small pictures of text."""

from __future__ import annotations

from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """A character for each number, from the lowest to the highest of them; a constant lies at the bottom."""
    if not values:
        return ""
    low, high = min(values), max(values)
    step = (high - low) / (len(LEVELS) - 1)
    return "".join(LEVELS[round((value - low) / step) if step else 0] for value in values)


def bar(done: float, width: int) -> str:
    """`done` is a share from 0 to 1."""
    filled = round(min(max(done, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


def short_duration(seconds: float) -> str:
    """The two largest units, as kubectl writes ages: 45s, 12m, 3h20m, 2d4h."""
    seconds = max(0, int(seconds))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:
        return f"{seconds}s"
    if hours < 1:
        return f"{minutes}m"
    if days < 1:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
