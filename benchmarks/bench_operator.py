"""The operator under load: many experiments applied to a real API server with nothing behind it.

    python benchmarks/bench_operator.py [--experiments N] [--rate N]

Prints the time from an apply to its first RayJob, API calls for each experiment, memory, and how long a new process
needs until it has looked at every experiment again.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cluster.control_plane import ControlPlane
from cluster.daemons import answers, free_ports, wait_until
from cluster.kuberay import crd_files
from operator_lab import CRD, EXPERIMENT, client
from urllib3.exceptions import HTTPError

from limr_operator import names
from limr_operator.api import KINDS, Api

NAMESPACE = "bench"
PATIENCE_SECONDS = 600.0


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(Path(folder) / "plane", crds=[CRD, *crd_files()]) as plane,
    ):
        plane.kubectl("create", "namespace", NAMESPACE)
        api = Api(client(plane.kubeconfig), fence=lambda: None)
        operator = _start(plane, Path(folder) / "operator.log")
        calls = _calls(api)
        born = _Births(plane)
        applied = _apply_all(api, options.experiments, options.rate)
        wait_until(lambda: len(born.seen) >= options.experiments, "a RayJob for each", PATIENCE_SECONDS)
        waits = sorted(born.seen[f"{name}--probe-1"] - at for name, at in applied.items())
        made = len(waits)
        print(f"{made} experiments at {options.rate:g}/s: from apply to child p50 {statistics.median(waits):.3f} s, "
              f"p95 {waits[int(0.95 * made)]:.3f} s, longest {waits[-1]:.3f} s")  # fmt: skip
        time.sleep(3)
        # Our own applies are among them.
        print(f"  API calls for each: {(_calls(api) - calls) / made - 1:.1f}")
        print(f"  memory of the operator: {_memory_mib(operator.pid):.0f} MiB")
        operator.send_signal(signal.SIGTERM)
        operator.wait(60)
        _suspend_all(api, applied)
        began = time.monotonic()
        operator = _start(plane, Path(folder) / "operator.log")
        wait_until(lambda: _all_seen(api), "a look at each", PATIENCE_SECONDS)
        print(f"  restart until every experiment was looked at: {time.monotonic() - began:.1f} s")
        print(f"  memory of the operator: {_memory_mib(operator.pid):.0f} MiB")
        operator.send_signal(signal.SIGTERM)
        operator.wait(60)


def _start(plane: ControlPlane, log: Path) -> subprocess.Popen[bytes]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "limr_operator", "--trainer-image", "trainer", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
        )
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "the operator", PATIENCE_SECONDS)
    return process


class _Births(threading.Thread):
    """When each RayJob was first heard of."""

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, float] = {}
        self._client = client(plane.kubeconfig)
        self.start()

    def run(self) -> None:
        url = self._client.configuration.host + KINDS["RayJob"].path(NAMESPACE) + "?watch=true"
        answer = self._client.rest_client.pool_manager.request("GET", url, preload_content=False)
        with suppress(HTTPError):  # the server ends with the benchmark
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ADDED":
                    self.seen[event["object"]["metadata"]["name"]] = time.monotonic()


def _apply_all(api: Api, count: int, rate: float) -> dict[str, float]:
    """When each was applied."""
    applied: dict[str, float] = {}
    began = time.monotonic()

    def apply(number: int) -> None:
        manifest: dict[str, Any] = copy.deepcopy(EXPERIMENT)
        manifest["metadata"] = {"name": f"e{number}", "namespace": NAMESPACE}
        api.apply(manifest)
        applied[manifest["metadata"]["name"]] = time.monotonic()

    with ThreadPoolExecutor(4) as pool:
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            pool.submit(apply, number)
    return applied


def _suspend_all(api: Api, applied: dict[str, float]) -> None:
    def suspend(name: str) -> None:
        path = KINDS[names.KIND].path(NAMESPACE, name)
        api._request("PATCH", path, {"spec": {"schedule": {"suspend": True}}}, "application/merge-patch+json")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(suspend, applied))


def _all_seen(api: Api) -> bool:
    time.sleep(0.5)
    found = api.list(names.KIND, NAMESPACE)
    return all(item["status"].get("observedGeneration") == item["metadata"]["generation"] for item in found)


def _calls(api: Api) -> int:
    """Requests that the API server has answered, without watches and probes."""
    host, pool = api._client.configuration.host, api._client.rest_client.pool_manager
    text = pool.request("GET", f"{host}/metrics").data.decode()
    lines = re.findall(r'^apiserver_request_total\{.*?verb="(\w+)".*?\} (\S+)$', text, re.MULTILINE)
    return int(sum(float(count) for verb, count in lines if verb not in ("WATCH", "LIST", "CONNECT")))


def _memory_mib(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="applies per second")
    return parser.parse_args()


if __name__ == "__main__":
    main()
