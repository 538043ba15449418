"""The sums of very many files on a Ray cluster: each task reads some files, then the sums are added up in pairs.

Sums travel, rows do not. The files must be reachable from every machine: S3, or a shared file system. RAY_ADDRESS names
the cluster; without it Ray starts one on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import ray

from limr.errors import LimrError
from limr.selection import sources
from limr.selection.accuracy import merge
from limr.selection.files import Files
from limr.selection.sources import Rules, Trajectories

TASKS_PER_CPU = 2
DEADLINE_SECONDS = 6 * 3600.0


def summed(files: Files, rules: Rules) -> Trajectories:
    """As sources.summed. Raises LimrError for what it raises there, and when Ray takes longer than the deadline."""
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    tasks = max(1, int(ray.cluster_resources().get("CPU", 1)) * TASKS_PER_CPU)
    read, add = ray.remote(sources.summed), ray.remote(_added)
    parts = [read.remote(part, rules) for part in _shares(files, tasks)]
    while len(parts) > 1:  # neighbours, so that the order of the sums does not depend on who is done first
        parts = [add.remote(*parts[at : at + 2]) for at in range(0, len(parts), 2)]
    try:
        result: Trajectories = ray.get(parts[0], timeout=DEADLINE_SECONDS)
    except ray.exceptions.GetTimeoutError:
        raise LimrError(f"Ray did not finish in {DEADLINE_SECONDS / 3600:.0f} hours; look at its dashboard") from None
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from None
    return result


def _added(*parts: Trajectories) -> Trajectories:
    texts: dict[str, str] = {}
    for part in parts:
        texts |= {name: text for name, text in part.texts.items() if name not in texts}
    return Trajectories(merge([part.matrix for part in parts]), texts)


def _shares(files: Files, tasks: int) -> Iterator[Files]:
    """Runs of neighbouring files, as equal in number as can be."""
    count = len(files.files)
    bounds = [round(share * count / min(tasks, count)) for share in range(min(tasks, count) + 1)]
    for begin, end in pairwise(bounds):
        yield Files(files.kind, files.files[begin:end], files.steps[begin:end])


def _cause(error: Any) -> Exception:
    """The task's own exception: an error of a task on a task's result is wrapped more than once."""
    while isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    return error  # type: ignore[no-any-return]
