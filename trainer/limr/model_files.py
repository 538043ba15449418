"""Where a model's files are on this machine, whatever its URI."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

from limr.store import open_store

FINGERPRINT_FILE = "limr_fingerprint.json"  # beside exported weights: what the learner said with them


def local_model(uri: str, endpoint: str | None, version: str = "") -> str:
    """A directory or hub id that transformers and vLLM load. Models in S3 are fetched once per machine and version."""
    if not uri.startswith("s3://"):
        return uri
    cache = Path(os.environ.get("LIMR_MODEL_CACHE", Path(tempfile.gettempdir()) / "limr-models"))
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / hashlib.sha256(f"{endpoint}|{uri}|{version}".encode()).hexdigest()[:16]
    with (cache / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # engines and learners of one machine ask at the same time
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache) as partial:
                parent, _, name = uri.rstrip("/").rpartition("/")
                open_store(parent, endpoint).download(name, Path(partial) / "model")
                (Path(partial) / "model").rename(target)
    return str(target)
