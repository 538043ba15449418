"""Numbers as a person reads them."""

from __future__ import annotations

from limr.stage import Progress


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def progress_words(progress: Progress | None) -> str:
    """Step, reward, speed and time left, as far as they are known."""
    if progress is None:
        return ""
    parts = [f"step {progress.step}/{progress.steps}"] if progress.step else []
    if progress.reward_mean is not None:
        parts.append(f"reward {progress.reward_mean:.3f}")
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.eta_seconds is not None:
        parts.append(f"{duration(progress.eta_seconds)} left")
    if progress.doing and (progress.reward_mean is None or progress.part_size):
        parts.append(progress.doing)
    return ", ".join(parts)
