"""The Pods of a RayCluster, and the RayCluster that the stages of an experiment share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from limr.spec import Experiment, LearnerPods, RolloutPods
from limr.topology import Workers, asked_kind, engines, learners
from limr_operator import names
from limr_operator.objects import pod
from limr_operator.objects.common import Manifest, Workplace, shared_workplace
from limr_operator.objects.volumes import object_store_bytes

WorkerPods = LearnerPods | RolloutPods

RAY_VERSION = "2.60.0"  # of the trainer image; a test compares it with the requirements


def ray_cluster(place: Workplace, name: str, defaults: pod.Defaults) -> Manifest:
    """With all roles: what does not need one leaves it idle."""
    metadata = place.metadata(name, {**place.labels, **queue_label(place.experiment)})
    metadata["annotations"] = {names.SPEC_DIGEST: spec_digest(place.experiment, defaults)}
    spec = ray_cluster_spec(place, roles(place.experiment), defaults)
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": spec}


def spec_digest(experiment: Experiment, defaults: pod.Defaults) -> str:
    """Of the RayCluster that stages of this experiment would share now: its annotation SPEC_DIGEST."""
    spec = ray_cluster_spec(shared_workplace(experiment), roles(experiment), defaults)
    text = json.dumps([queue_label(experiment), spec], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def roles(experiment: Experiment) -> dict[str, WorkerPods]:
    cluster = experiment.spec.cluster
    return {"learner": cluster.learner, "rollout": cluster.rollout}


def queue_label(experiment: Experiment) -> dict[str, str]:
    queue = experiment.spec.schedule.queue
    return {names.QUEUE: queue} if queue else {}


def ray_cluster_spec(place: Workplace, workers: Mapping[str, WorkerPods], defaults: pod.Defaults) -> Manifest:
    driver = place.experiment.spec.cluster.driver
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {
                "dashboard-host": "0.0.0.0",
                "num-cpus": "0",  # the driver works there, and no actor
                **_object_store(driver),
            },
            "template": pod.template(place, "driver", driver, defaults),
        },
        "workerGroupSpecs": [_group(place, name, role, defaults) for name, role in workers.items()],
    }


def _group(place: Workplace, name: str, role: WorkerPods, defaults: pod.Defaults) -> Manifest:
    workers = _workers(place, role)
    return {
        "groupName": name,
        "replicas": role.replicas,
        "minReplicas": role.replicas,
        "maxReplicas": role.replicas,
        "rayStartParams": {
            "num-cpus": str(max(1, round(role.cpus))),
            "num-gpus": str(workers.gpus_per_pod),
            # An actor asks for one of its group's resource, so that it comes to a Pod of its group: limr.devices.
            "resources": json.dumps(json.dumps({f"limr_{name}": workers.actors_per_pod})),
            **_object_store(role),
        },
        "template": pod.template(place, name, role, defaults),
    }


def _workers(place: Workplace, role: WorkerPods) -> Workers:
    """What works in the group's Pods; the trainer's drivers count by the same functions."""
    kind = asked_kind(place.experiment.spec.cluster)
    return engines(role, kind) if isinstance(role, RolloutPods) else learners(role, kind)


def _object_store(place: Any) -> dict[str, str]:
    size = object_store_bytes(place)
    return {"object-store-memory": str(size)} if size else {}
