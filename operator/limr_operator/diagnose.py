"""Why Pods do not run, or have stopped, in words that say what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from limr_operator import names

Pod = Mapping[str, Any]


class Finding(NamedTuple):
    reason: str  # CamelCase, for conditions
    message: str


IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
LONGEST_WORDS = 300


def obstacle(pods: Sequence[Pod]) -> Finding | None:
    """What keeps Pods from beginning, the first thing that a person can mend."""
    return next((finding for pod in pods for finding in _obstacles(pod)), None)


def casualty(pods: Sequence[Pod], since: datetime | None = None) -> Finding | None:
    """What ended a Pod, or a container of one, that should still be at work; not what had ended before `since`."""
    return next((finding for pod in pods for finding in _casualties(pod, since)), None)


def last_words(pods: Sequence[Pod], since: datetime | None = None) -> str:
    """The end of the log of the driver's container, if that has failed since then: the kubelet keeps it."""
    for pod in pods:
        if pod["metadata"].get("labels", {}).get(names.ROLE) == "driver":
            for ended in _ended(pod["status"].get("containerStatuses", ()), since):
                if ended.get("exitCode") and ended.get("message"):
                    return str(ended["message"])
    return ""


def restarted(pod: Pod, since: datetime | None = None) -> bool:
    """Whether one of its containers has ended since then, though another may run in its place."""
    for container in pod["status"].get("containerStatuses", ()):
        running = container.get("state", {}).get("running") or {}
        if container.get("restartCount", 0) and not _before(running.get("startedAt"), since):
            return True
    return False


def taken_away(pods: Sequence[Pod]) -> Pod | None:
    """A Pod that works and was asked to go: its machine is drained or preempted."""
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp") and pod["status"].get("phase") == "Running":
            return pod
    return None


def _obstacles(pod: Pod) -> Iterator[Finding]:
    name = pod["metadata"]["name"]
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            words = _short(condition.get("message", ""))
            yield Finding(
                "Unschedulable",
                f"no node can take Pod {name}: {words}; check gpus, cpus, memoryGib, nodeSelector and tolerations of "
                "its role in spec.cluster, or add nodes",
            )
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        reason, words = waiting.get("reason", ""), _short(waiting.get("message", ""))
        if reason in IMAGE_REASONS:
            yield Finding(
                "ImageUnavailable",
                f"the image {container.get('image')} cannot be pulled for Pod {name} ({reason}: {words}); correct "
                "spec.cluster.image, or name the registry's Secret in spec.cluster.imagePullSecrets",
            )
        if reason in CONFIG_REASONS:
            yield _configuration(name, reason, words)


def _configuration(name: str, reason: str, words: str) -> Finding:
    if "secret" in words and "not found" in words:
        return Finding(
            "SecretMissing",
            f"Pod {name} cannot start: {words}; create the Secret, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
            "with a tracker's keys or HF_TOKEN, or correct credentialsSecret in spec.storage or spec.tracking or "
            "spec.model.tokenSecret",
        )
    return Finding("ContainerRefused", f"Pod {name} cannot start ({reason}: {words}); mend what it names")


def _casualties(pod: Pod, since: datetime | None) -> Iterator[Finding]:
    name, status = pod["metadata"]["name"], pod["status"]
    for ended in _ended(_containers(pod), since):
        if ended.get("reason") == "OOMKilled":
            yield Finding(
                "OutOfMemory",
                f"Pod {name} was killed because it needed more memory than its limit; raise memoryGib of its role "
                "in spec.cluster, or make ppo.microBatchSize or ppo.maxResponseTokens smaller",
            )
    if status.get("reason") == "Evicted":
        yield Finding("Evicted", f"Pod {name} was evicted: {_short(status.get('message', ''))}")


def _ended(containers: Iterable[Mapping[str, Any]], since: datetime | None) -> Iterator[Mapping[str, Any]]:
    """How each of them ended, now or before it was restarted."""
    for container in containers:
        for state in (container.get("state", {}), container.get("lastState", {})):
            ended = state.get("terminated") or {}
            if not _before(ended.get("finishedAt"), since):
                yield ended


def _before(when: str | None, since: datetime | None) -> bool:
    """What has no time counts as new."""
    return since is not None and when is not None and datetime.fromisoformat(when) < since


def _containers(pod: Pod) -> list[Mapping[str, Any]]:
    status = pod["status"]
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _short(words: str) -> str:
    words = " ".join(words.split()).rstrip(".;")
    return words if len(words) <= LONGEST_WORDS else words[:LONGEST_WORDS] + "…"
