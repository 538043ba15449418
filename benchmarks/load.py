"""What the benchmarks of operators share: a steady stream of objects, what comes of each, and who pays for it."""

from __future__ import annotations

import json
import os
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.control_plane import ControlPlane
from cluster.daemons import wait_until
from operator_lab import client
from urllib3.exceptions import HTTPError

from limr_operator.api import KINDS, Api, Kind

Object = Mapping[str, Any]

NAMESPACE = "bench"
PATIENCE_SECONDS = 1800.0
KINDS["RayCluster"] = Kind("ray.io", "v1", "rayclusters")


class Watch(threading.Thread):
    """When the first object of a kind was heard of for each `name`, and what `keep` says of the newest."""

    def __init__(
        self,
        plane: ControlPlane,
        kind: str,
        name: Callable[[Object], str],
        keep: Callable[[Object], Any] = lambda thing: None,
    ) -> None:
        super().__init__(daemon=True)
        self.born: dict[str, float] = {}
        self.newest: dict[str, Any] = {}
        self._client = client(plane.kubeconfig)
        self._path, self._name, self._keep = KINDS[kind].path(NAMESPACE), name, keep
        self.start()

    def run(self) -> None:
        url = f"{self._client.configuration.host}{self._path}?watch=true"
        with suppress(HTTPError):  # the server ends with the benchmark
            while True:
                self._follow(self._client.rest_client.pool_manager.request("GET", url, preload_content=False))

    def _follow(self, answer: Iterable[bytes]) -> None:
        for line in answer:
            event = json.loads(line)
            if event["type"] == "ERROR":  # a kind that was installed just now
                return
            name = self._name(event["object"])
            self.born.setdefault(name, time.monotonic())
            self.newest[name] = self._keep(event["object"])

    def wait(self, made: Mapping[str, float]) -> list[float]:
        """Seconds from when each was made until it was heard of, sorted."""
        wait_until(lambda: len(self.born) >= len(made), "one for each", PATIENCE_SECONDS)
        return sorted(self.born[name] - at for name, at in made.items())


def make_all(api: Api, make: Callable[[str], dict[str, Any]], count: int, rate: float) -> dict[str, float]:
    """Applies what `make` gives for each name, `rate` a second; when each was there."""
    made: dict[str, float] = {}

    def apply(name: str) -> None:
        api.apply(make(name))
        made[name] = time.monotonic()

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            pool.submit(apply, f"e{number}")
    return made


def summary(waits: list[float]) -> str:
    p95 = waits[int(0.95 * len(waits))]
    return f"p50 {statistics.median(waits):.3f} s, p95 {p95:.3f} s, longest {waits[-1]:.3f} s"


class Costs:
    """CPU time of processes, and calls that the API server has answered, since this was made."""

    def __init__(self, api: Api, plane: ControlPlane, own_calls: str, **pids: int) -> None:
        """`own_calls` are the benchmark's: not counted."""
        self._api, self._own_calls = api, own_calls
        servers = {name: plane.pid_of(name) for name in ("kube-apiserver", "etcd")}
        self._pids = {**pids, **servers, "benchmark": os.getpid()}
        self._cpu, self._calls = self._cpu_now(), self._calls_now()
        self._began, self._busy = time.monotonic(), _busy_seconds()

    def summary(self, count: int) -> str:
        """For each of `count` objects."""
        spent = self._cpu_now() - self._cpu
        more = self._calls_now() - self._calls
        calls = Counter(
            {call: times for call, times in more.items() if times > 0.05 * count}
        )  # others are the server's
        share = (
            (_busy_seconds() - self._busy - spent.total()) / (time.monotonic() - self._began) / (os.cpu_count() or 1)
        )
        cpu = ", ".join(f"{name} {1000 * seconds / count:.1f} ms" for name, seconds in spent.items())
        listed = ", ".join(f"{what} {times / count:.2f}" for what, times in calls.most_common())
        return (
            f"  CPU for each: {cpu}; other programs used {share:.0%} of the machine\n"
            f"  API calls for each: {calls.total() / count:.1f} ({listed})"
        )

    def _cpu_now(self) -> Counter[str]:
        return Counter({name: _cpu_seconds(pid) for name, pid in self._pids.items()})  # type: ignore[arg-type]

    def _calls_now(self) -> Counter[str]:
        host, pool = self._api._client.configuration.host, self._api._client.rest_client.pool_manager
        text = pool.request("GET", f"{host}/metrics").data.decode()
        found: Counter[str] = Counter()
        for labels, number in re.findall(r"^apiserver_request_total\{(.*?)\} (\S+)$", text, re.MULTILINE):
            label = dict(re.findall(r'(\w+)="(.*?)"', labels))
            verb, what = label["verb"], label["resource"] + ("/status" if label["subresource"] else "")
            call = f"{verb} {what}"
            if verb not in ("WATCH", "LIST", "CONNECT") and what not in ("", "leases") and call != self._own_calls:
                found[call] += int(float(number))
        return found


def memory_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float:
    """Of all cores, since the machine started."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
