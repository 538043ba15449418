"""A real Prometheus that answers queries."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cluster.daemons import Daemon, answers, free_ports, wait_for_server
from cluster.packages import program

START_SECONDS = 120.0
CALL_SECONDS = 60.0


class Prometheus:
    """Takes its configuration, as its file has it. The default program is Debian's."""

    def __init__(self, folder: Path, configuration: Mapping[str, Any], binary: Path | None = None) -> None:
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(configuration))
        command: list[str | Path] = [binary or program("prometheus"), f"--config.file={config}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
        self._daemon = Daemon("prometheus", command, folder / "prometheus.log")

    def __enter__(self) -> Self:
        self._daemon.__enter__()
        wait_for_server(self._daemon, lambda: answers(f"{self._url}/-/ready"), START_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._daemon.__exit__(kind, error, at)

    def range(self, expression: str, since: float, until: float, step: float = 1) -> list[Any]:
        """The series that the expression had between two times, looked at each `step` seconds."""
        query = {"query": expression, "start": since, "end": until, "step": step}
        url = f"{self._url}/api/v1/query_range?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=CALL_SECONDS) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
        return found


def scraping(jobs: Mapping[str, int]) -> dict[str, Any]:
    """A configuration for servers of 127.0.0.1, job -> port: each second, as the chart's monitors do."""
    return {"scrape_configs": [_scrape(job, port) for job, port in jobs.items()]}


def _scrape(job: str, port: int) -> dict[str, Any]:
    return {
        "job_name": job,
        "honor_labels": True,
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
