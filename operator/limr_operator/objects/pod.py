"""Pod templates: what every Pod of a stage has, then what the spec asks for its place, then a person's amendments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from limr.spec import Place, Role, Spec
from limr.stage import METRICS_PORT, STOP_SECONDS
from limr.stage_log import CONTAINER_OUTPUT
from limr_operator import names
from limr_operator.objects.common import Manifest, Workplace
from limr_operator.objects.overlay import merged
from limr_operator.objects.placement import placement, topology_annotations
from limr_operator.objects.volumes import Volume, volumes

CONTAINER = "limr"
USER = 65532
HUB_TOKEN = "HF_TOKEN"  # as huggingface_hub calls it, and as model.tokenSecret has it
OUTPUT_OF_CONTAINER = "/proc/1/fd/1"  # may be opened by processes of the same user
# Longest time from SIGTERM until a Pod is killed: a machine that is taken away leaves time for the operator to see it,
# and for the stage to stop.
GRACE_SECONDS = 2 * STOP_SECONDS

# Keeps a Pod of a Ray cluster alive while it works, though it was asked to go: the operator sees that, asks the stage
# to checkpoint and end, and then no actor and no driver is left. (The brackets keep the pattern from itself.)
PRE_STOP = (
    f"for i in $(seq {GRACE_SECONDS - 10}); do "
    "grep -qsE 'ray::_Hos[t]|limr[.]stage_main' /proc/[0-9]*/cmdline || exit 0; sleep 1; done"
)
# The ports of a Ray head. KubeRay's Service has its own only as long as the container names none.
RAY_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}
HEAD_PORTS = [
    {"name": name, "containerPort": port} for name, port in (*RAY_PORTS.items(), ("limr-metrics", METRICS_PORT))
]
RAY_LIFECYCLE = {"preStop": {"exec": {"command": ["bash", "-c", PRE_STOP]}}}


@dataclass(frozen=True)
class Defaults:
    """What the operator brings where a spec says nothing."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    log_format: str = "json"
    log_level: str = "INFO"


def template(
    workplace: Workplace,
    role: str,
    place: Place,
    defaults: Defaults,
    command: list[str] | None = None,
    loads_models: bool = True,
) -> Manifest:
    """`command` None leaves starting to KubeRay. Only the Pod with the driver can speak to the API."""
    spec = workplace.experiment.spec
    mounted = volumes(spec, role, place, on_ray=not command, loads_models=loads_models)
    labels = {**workplace.pod_labels, names.ROLE: role}
    container: Manifest = {
        "name": CONTAINER,
        "image": spec.cluster.image or defaults.image,
        "imagePullPolicy": defaults.image_pull_policy,
        "env": _environment(spec, mounted, loads_models),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # its status then has what it printed last
        "resources": _resources(place),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [volume.mount for volume in mounted],
    }
    container |= {"command": command} if command else {"lifecycle": RAY_LIFECYCLE}
    drives_ray = role == "driver" and not command  # the stage's process is not the container's own
    if drives_ray:
        container["env"].append({"name": CONTAINER_OUTPUT, "value": OUTPUT_OF_CONTAINER})
        container["ports"] = HEAD_PORTS
    # What stands last wins: a tracker's Secret cannot replace the store's keys.
    secrets = [*(_tracking_secrets(spec) if drives_ray else []), spec.storage.credentials_secret]
    if any(secrets):
        container["envFrom"] = [{"secretRef": {"name": name}} for name in secrets if name]
    pod: Manifest = {
        "serviceAccountName": workplace.service_account,
        "automountServiceAccountToken": role == "driver",
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [volume.manifest for volume in mounted],
        **placement(place, labels),
    }
    if spec.cluster.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in spec.cluster.image_pull_secrets]
    if spec.schedule.priority_class:
        pod["priorityClassName"] = spec.schedule.priority_class
    annotations = topology_annotations(place, spec.schedule)
    metadata: Manifest = {"labels": labels, **({"annotations": annotations} if annotations else {})}
    amended: Manifest = merged({"metadata": metadata, "spec": pod}, place.pod_template)
    amended["metadata"]["labels"] |= labels  # by these the operator knows its Pods
    return amended


def _environment(spec: Spec, mounted: list[Volume], loads_models: bool) -> list[Manifest]:
    variables = {"PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0", "LIMR_PLACEMENT": "roles"}
    for volume in mounted:
        variables |= volume.variables
    environment: list[Manifest] = [{"name": name, "value": value} for name, value in variables.items()]
    if spec.model.token_secret and loads_models:
        key = {"name": spec.model.token_secret, "key": HUB_TOKEN}
        environment.append({"name": HUB_TOKEN, "valueFrom": {"secretKeyRef": key}})
    return environment


def _tracking_secrets(spec: Spec) -> list[str]:
    names = (tracker.credentials_secret for tracker in spec.tracking)
    return list(dict.fromkeys(name for name in names if name))


def _resources(place: Place) -> Manifest:
    requests: dict[str, Any] = {"cpu": _millicores(place.cpus)}
    limits: dict[str, Any] = {}
    if place.memory_gib is not None:
        requests["memory"] = limits["memory"] = f"{math.ceil(place.memory_gib * 1024)}Mi"
    if isinstance(place, Role) and place.gpus:
        requests["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = str(place.gpus)
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _millicores(cpus: float) -> str:
    return f"{round(cpus * 1000)}m"
