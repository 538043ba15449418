"""The operator under load: many experiments applied to a real API server with nothing behind it.

    python benchmarks/bench_operator.py [--experiments N] [--rate N]

Prints the time from an apply to its first RayJob, what that costs, memory, and how long a new process needs until it
has looked at every experiment again: when nothing has changed, and when all were suspended meanwhile.
"""

from __future__ import annotations

import argparse
import copy
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cluster.control_plane import ControlPlane
from cluster.daemons import answers, free_ports, wait_until
from cluster.kuberay import crd_files
from load import NAMESPACE, PATIENCE_SECONDS, Costs, Watch, make_all, memory_mib, summary
from operator_lab import CRD, EXPERIMENT, client

from limr_operator import names
from limr_operator.api import KINDS, Api


class State(NamedTuple):
    """Of an experiment."""

    queued: bool
    looked_at: bool  # since its spec was last changed


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(Path(folder) / "plane", crds=[CRD, *crd_files()]) as plane,
    ):
        plane.kubectl("create", "namespace", NAMESPACE)
        api = Api(client(plane.kubeconfig), fence=lambda: None)
        log = Path(folder) / "operator.log"
        ray_jobs = Watch(plane, "RayJob", lambda ray_job: str(ray_job["metadata"]["labels"][names.EXPERIMENT]))
        experiments = Watch(plane, names.KIND, lambda thing: str(thing["metadata"]["name"]), _state)
        with _operator(plane, log) as pid:
            costs = Costs(api, plane, "APPLY limrexperiments", operator=pid)
            applied = make_all(api, _experiment, options.experiments, options.rate)
            waits = ray_jobs.wait(applied)
            print(f"{len(waits)} experiments at {options.rate:g}/s, from apply to RayJob: {summary(waits)}")
            wait_until(lambda: _all(experiments, "queued"), "calm", PATIENCE_SECONDS)
            print(costs.summary(len(waits)))
            print(f"  memory of the operator: {memory_mib(pid):.0f} MiB")
        api.apply(_experiment("last"))  # in their order the last one
        _restart("nothing had changed", plane, log, lambda: "last" in ray_jobs.born)
        _suspend_all(api, applied)
        _restart("all had been suspended", plane, log, lambda: _all(experiments, "looked_at"))


def _experiment(name: str) -> dict[str, Any]:
    return {**copy.deepcopy(EXPERIMENT), "metadata": {"name": name, "namespace": NAMESPACE}}


@contextmanager
def _operator(plane: ControlPlane, log: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "limr_operator", "--trainer-image", "trainer", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "the operator", PATIENCE_SECONDS)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _restart(when: str, plane: ControlPlane, log: Path, done: Callable[[], bool]) -> None:
    began = time.monotonic()
    with _operator(plane, log) as pid:
        wait_until(done, "a look at each", PATIENCE_SECONDS)
        print(f"restart until every experiment was looked at, {when}: {time.monotonic() - began:.1f} s")
        print(f"  memory of the operator: {memory_mib(pid):.0f} MiB")


def _suspend_all(api: Api, experiments: Iterable[str]) -> None:
    def suspend(name: str) -> None:
        path = KINDS[names.KIND].path(NAMESPACE, name)
        api._request("PATCH", path, {"spec": {"schedule": {"suspend": True}}}, "application/merge-patch+json")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(suspend, experiments))


def _all(experiments: Watch, what: str) -> bool:
    return all(getattr(state, what) for state in list(experiments.newest.values()))


def _state(experiment: Mapping[str, Any]) -> State:
    status = experiment.get("status", {})
    seen = status.get("observedGeneration") == experiment["metadata"]["generation"]
    return State(queued=status.get("progress") == "queued", looked_at=seen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="applies per second")
    return parser.parse_args()


if __name__ == "__main__":
    main()
