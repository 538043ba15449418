"""Every name in the store, in one place. Paths are relative to the folder of their stage unless they say otherwise."""

from __future__ import annotations

import re

MANIFEST = "manifest.json"
SCORES = "scores.parquet"
SUBSET = "subset.parquet"
SUMMARY = "summary.json"
RESULTS = "results.json"
REPORT = "index.html"
RUN_ID = "tracking/run-id"

_ATTEMPT = re.compile(r"(?:checkpoints/)?attempt-(\d+)/")


def in_stage(stage: str, path: str) -> str:
    """The path from the experiment's folder."""
    return f"{stage}/{path}"


def trajectories(attempt: int, epoch: int, step: int) -> str:
    return f"attempt-{attempt}/trajectories/epoch={epoch:04d}/step={step:06d}.parquet"


def texts(attempt: int, epoch: int, step: int) -> str:
    return f"attempt-{attempt}/texts/epoch={epoch:04d}/step={step:06d}.parquet"


def checkpoint(attempt: int, step: int) -> str:
    return f"checkpoints/attempt-{attempt}/step={step:06d}"


def product(attempt: int, name: str) -> str:
    """Folder of something the stage made, such as the trained model in Hugging Face form."""
    return f"attempt-{attempt}/{name}"


def tracking(name: str) -> str:
    """Folder of what trackers made: of no attempt, so that the journal never sweeps it."""
    return f"tracking/{name}"


def attempt_of(path: str) -> int | None:
    """The attempt that wrote `path`, if only one attempt may write there."""
    match = _ATTEMPT.match(path)
    return int(match[1]) if match else None
