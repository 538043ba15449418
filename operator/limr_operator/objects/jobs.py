"""The object that runs an attempt: a RayJob for stages with engines, a Job for the short ones."""

from __future__ import annotations

import json
from typing import Any

from limr.plan.graph import ENGINE_KINDS
from limr.spec import Role
from limr.stage import METRICS_PORT, StageKind
from limr_operator import names
from limr_operator.objects import pod
from limr_operator.objects.common import Attempt, Manifest

RAY_VERSION = "2.60.0"  # of the trainer image; a test compares it with the requirements
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def kind_of(attempt: Attempt) -> str:
    return "RayJob" if attempt.stage_input.stage.kind in ENGINE_KINDS else "Job"


def runner(attempt: Attempt, defaults: pod.Defaults) -> Manifest:
    return ray_job(attempt, defaults) if kind_of(attempt) == "RayJob" else job(attempt, defaults)


def job(attempt: Attempt, defaults: pod.Defaults) -> Manifest:
    driver = attempt.stage_input.experiment.spec.cluster.driver
    template = pod.template(attempt, "driver", driver, defaults, _command(attempt))
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(attempt),
        # Attempts are the operator's: a second Pod would begin the same attempt twice.
        "spec": {"backoffLimit": 0, "completions": 1, "parallelism": 1, "template": template},
    }


def ray_job(attempt: Attempt, defaults: pod.Defaults) -> Manifest:
    cluster = attempt.stage_input.experiment.spec.cluster
    head = pod.template(attempt, "driver", cluster.driver, defaults, None)
    roles = {"learner": cluster.learner, "rollout": cluster.rollout}
    if attempt.stage_input.stage.kind is StageKind.EVALUATION:
        del roles["learner"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(attempt),
        "spec": {
            # The other modes fail a running job when a log stream closes for half a minute.
            "submissionMode": "HTTPMode",
            "entrypoint": " ".join([*_command(attempt), "--metrics-port", str(METRICS_PORT)]),
            "backoffLimit": 0,  # attempts are the operator's
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 0,
            "rayClusterSpec": {
                "rayVersion": RAY_VERSION,
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {
                        "dashboard-host": "0.0.0.0",
                        "num-cpus": "0",  # the driver works there, and no actor
                        **_object_store(cluster.driver),
                    },
                    "template": head,
                },
                "workerGroupSpecs": [_group(attempt, name, role, defaults) for name, role in roles.items()],
            },
        },
    }


def _group(attempt: Attempt, name: str, role: Role, defaults: pod.Defaults) -> Manifest:
    return {
        "groupName": name,
        "replicas": role.replicas,
        "minReplicas": role.replicas,
        "maxReplicas": role.replicas,
        "rayStartParams": {
            "num-cpus": str(max(1, round(role.cpus))),
            # An actor asks for its role's resource, so that it comes to a Pod of its role: limr.devices.
            "resources": json.dumps(json.dumps({f"limr_{name}": 1})),
            **_object_store(role),
        },
        "template": pod.template(attempt, name, role, defaults, None),
    }


def _object_store(place: Any) -> dict[str, str]:
    size = pod.object_store_bytes(place)
    return {"object-store-memory": str(size)} if size else {}


def _command(attempt: Attempt) -> list[str]:
    return ["python", "-m", "limr.stage_main", "--config-map", f"{attempt.namespace}/{attempt.name}"]


def _metadata(attempt: Attempt) -> Manifest:
    queue = attempt.stage_input.experiment.spec.schedule.queue
    labels = {**attempt.labels, **({QUEUE_LABEL: queue} if queue else {})}
    metadata = attempt.metadata(attempt.name, labels)
    provenance = _provenance(attempt)
    if provenance:
        metadata["annotations"] = {names.PROVENANCE: json.dumps(provenance)}
    return metadata


def _provenance(attempt: Attempt) -> Manifest:
    """Which selection, of which scores, a follow-on training was spawned by."""
    stage = attempt.stage_input.stage
    if stage.kind is not StageKind.TRAINING:
        return {}
    spec = attempt.stage_input.experiment.spec
    arm = next(arm for arm in spec.arms if arm.name == stage.arm)
    strategy = spec.strategy_of(arm)
    selection = f"select-{stage.arm}"
    return {
        "experiment": attempt.experiment,
        "parent": f"{attempt.experiment}--{selection}",
        "strategy": strategy.strategy,
        "threshold": strategy.threshold,
        "seed": stage.seed,
        "outputs": {name: output.digest for name, output in attempt.stage_input.inputs[selection].items()},
    }
