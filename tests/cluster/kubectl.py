"""kubectl of the cluster's own version, as a function."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.daemons import wait_until
from cluster.kubernetes_module import kubernetes_program

CALL_SECONDS = 60.0


class Kubectl:
    """Calls with one kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def __call__(self, *arguments: str | Path, stdin: str | None = None, seconds: float = CALL_SECONDS) -> str:
        """What it printed. Raises RuntimeError with what it said when it fails."""
        done = self.run(*arguments, stdin=stdin, seconds=seconds)
        if done.returncode:
            raise RuntimeError(f"`kubectl {' '.join(map(str, arguments))}` failed:\n{done.stderr.strip()}")
        return done.stdout

    def run(
        self, *arguments: str | Path, stdin: str | None = None, seconds: float = CALL_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """The same for callers that want to see a failure."""
        return subprocess.run(
            [kubernetes_program("kubectl"), "--kubeconfig", self.kubeconfig, *arguments],
            # Its discovery cache is by address and port, which test clusters reuse.
            env={**os.environ, "KUBECACHEDIR": str(self.kubeconfig.parent / "kubectl-cache")},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def apply(self, *documents: dict[str, Any], namespace: str = "default") -> str:
        """By server-side apply, with unknown fields refused."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        return self("apply", "--server-side", "--validate=strict", "-n", namespace, "-f", "-", stdin=text)

    def install_crds(self, files: Sequence[Path]) -> None:
        """Returns when the API server serves them. KubeRay's are too large for a client-side apply."""
        arguments = [part for file in files for part in ("-f", file)]
        self("apply", "--server-side", *arguments)
        wait = ("wait", "--for=condition=Established", "--timeout=30s", *arguments)
        # It gives up at once on one that has no conditions yet.
        wait_until(lambda: self.run(*wait).returncode == 0, "the definitions that the API server accepts", 30)

    def get(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self("get", "-o", "json", *arguments))
        return document
