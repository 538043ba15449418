"""MLflow's own tracking server on 127.0.0.1, with a database that outlives it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.daemons import Daemon, answers, free_ports, wait_for_server

START_SECONDS = 240.0


class MlflowServer:
    """At `uri`; may be left and entered again."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{port}"
        # The tracking API of `mlflow server`, in one process and without what it also serves to language models.
        settings = {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'db'}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": str(folder / "artifacts"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command: list[str | Path] = ["/usr/bin/env", *(f"{name}={value}" for name, value in settings.items())]
        command += [sys.executable, "-m", "flask", "--app=mlflow.server:app", "run", f"--port={port}"]
        self._daemon = Daemon("mlflow", command, folder / "mlflow.log")

    def __enter__(self) -> Self:
        self._daemon.__enter__()
        wait_for_server(self._daemon, lambda: answers(f"{self.uri}/health"), START_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._daemon.__exit__(kind, error, at)
