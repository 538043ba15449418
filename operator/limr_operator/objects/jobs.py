"""The object that runs an attempt: a RayJob for stages with engines, a Job for the short ones."""

from __future__ import annotations

import json

from limr.stage import METRICS_PORT, StageKind
from limr_operator import names
from limr_operator.objects import pod
from limr_operator.objects.cluster import queue_label, ray_cluster_spec, roles
from limr_operator.objects.common import Attempt, Manifest


def runner(attempt: Attempt, defaults: pod.Defaults) -> Manifest:
    return ray_job(attempt, defaults) if attempt.runs_on_ray else job(attempt, defaults)


def job(attempt: Attempt, defaults: pod.Defaults) -> Manifest:
    driver = attempt.experiment.spec.cluster.driver
    reads_model = attempt.stage_input.stage.kind is StageKind.PREFLIGHT
    template = pod.template(attempt.workplace, "driver", driver, defaults, _command(attempt, defaults), reads_model)
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(attempt),
        # Attempts are the operator's: a second Pod would begin the same attempt twice.
        "spec": {"backoffLimit": 0, "completions": 1, "parallelism": 1, "template": template},
    }


def ray_job(attempt: Attempt, defaults: pod.Defaults) -> Manifest:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(attempt),
        "spec": {
            # The other modes fail a running job when a log stream closes for half a minute.
            "submissionMode": "HTTPMode",
            "entrypoint": " ".join([*_command(attempt, defaults), "--metrics-port", str(METRICS_PORT)]),
            "backoffLimit": 0,  # attempts are the operator's
            **(_in_shared_cluster(attempt) if attempt.shares else _in_own_cluster(attempt, defaults)),
        },
    }


def _in_shared_cluster(attempt: Attempt) -> Manifest:
    return {"clusterSelector": {names.RAY_CLUSTER: attempt.shared_cluster or attempt.name}}


def _in_own_cluster(attempt: Attempt, defaults: pod.Defaults) -> Manifest:
    workers = roles(attempt.experiment)
    if attempt.stage_input.stage.kind is StageKind.EVALUATION:
        del workers["learner"]
    return {
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 0,
        "rayClusterSpec": ray_cluster_spec(attempt.workplace, workers, defaults),
    }


def _command(attempt: Attempt, defaults: pod.Defaults) -> list[str]:
    namespace, child = attempt.workplace.namespace, attempt.child
    stage = f"{namespace}/{attempt.experiment.metadata.name}/{child.stage}/{child.attempt}"
    log = ["--stage", stage, "--log-format", defaults.log_format, "--log-level", defaults.log_level]
    work = ["python", "-m", "limr.stage_main", "--config-map", f"{namespace}/{attempt.name}"]
    return ["python", "-m", "limr.stage_log", *log, "--", *work]


def _metadata(attempt: Attempt) -> Manifest:
    """In a queue stands what holds machines: here, or the RayCluster that stages share."""
    labels = {**attempt.labels, **({} if attempt.shares else queue_label(attempt.experiment))}
    metadata = attempt.workplace.metadata(attempt.name, labels)
    provenance = _provenance(attempt)
    if provenance:
        metadata["annotations"] = {names.PROVENANCE: json.dumps(provenance)}
    return metadata


def _provenance(attempt: Attempt) -> Manifest:
    """Which selection, of which scores, a follow-on training was spawned by."""
    stage = attempt.stage_input.stage
    if stage.kind is not StageKind.TRAINING:
        return {}
    experiment = attempt.experiment
    arm = next(arm for arm in experiment.spec.arms if arm.name == stage.arm)
    strategy = experiment.spec.strategy_of(arm)
    selection = f"select-{stage.arm}"
    return {
        "experiment": experiment.metadata.name,
        "parent": f"{experiment.metadata.name}--{selection}",
        "strategy": strategy.strategy,
        "threshold": strategy.threshold,
        "seed": stage.seed,
        "outputs": {name: output.digest for name, output in attempt.stage_input.inputs[selection].items()},
    }
