"""KubeRay beside the operator: RayJobs as the operator makes them, on the same API server, and their RayClusters.

    python benchmarks/bench_kuberay.py [--rayjobs N] [--rate N]

KubeRay runs as a process, with its defaults but for leader election. Nothing runs Pods, so no RayCluster becomes ready.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cluster.binaries import KUBERAY
from cluster.control_plane import ControlPlane
from cluster.daemons import Daemon, answers, free_ports, wait_until
from cluster.kuberay import crd_files
from load import NAMESPACE, Costs, Watch, make_all, memory_mib, summary
from operator_lab import EXPERIMENT, client

from limr.plan import Status, plan
from limr.spec import Experiment
from limr_operator.api import Api
from limr_operator.objects import Attempt, Defaults, manifests

ORIGIN = "ray.io/originated-from-cr-name"


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(Path(folder) / "plane", crds=crd_files()) as plane,
    ):
        plane.kubectl("create", "namespace", NAMESPACE)
        api = Api(client(plane.kubeconfig), fence=lambda: None)
        metrics, probes = free_ports(2)
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        command = [KUBERAY.binary(), "--enable-leader-election=false"]
        command += [f"--metrics-addr=127.0.0.1:{metrics}", f"--health-probe-bind-address=127.0.0.1:{probes}"]
        with Daemon("kuberay", command, Path(folder) / "kuberay.log") as kuberay:
            wait_until(lambda: answers(f"http://127.0.0.1:{probes}/readyz"), "KubeRay", 60)
            time.sleep(5)  # its watches
            clusters = Watch(plane, "RayCluster", lambda cluster: str(cluster["metadata"]["labels"][ORIGIN]))
            costs = Costs(api, plane, "APPLY rayjobs", kuberay=kuberay.pid)
            ray_job = _ray_job()
            made = make_all(api, lambda name: _named(ray_job, name), options.rayjobs, options.rate)
            waits = clusters.wait(made)
            print(f"KubeRay, {len(waits)} RayJobs at {options.rate:g}/s, from create to RayCluster: {summary(waits)}")
            print(costs.summary(len(waits)))
            print(f"  memory of KubeRay: {memory_mib(kuberay.pid):.0f} MiB")


def _ray_job() -> dict[str, Any]:
    """Of a probe, as the operator makes it."""
    manifest = copy.deepcopy(EXPERIMENT)
    manifest["metadata"] |= {"namespace": NAMESPACE, "uid": "none", "generation": 1}
    experiment = Experiment.model_validate(manifest)
    made = plan(experiment, Status(), {}, datetime.now(UTC), root=experiment.root)
    return manifests(Attempt(made.children[0]), Defaults("trainer"))[-1]


def _named(ray_job: dict[str, Any], name: str) -> dict[str, Any]:
    labels = ray_job["metadata"]["labels"]
    return {**ray_job, "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rayjobs", type=int, default=300)
    parser.add_argument("--rate", type=float, default=10.0, help="creates per second")
    return parser.parse_args()


if __name__ == "__main__":
    main()
