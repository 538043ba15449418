"""One experiment brought from what is to what should be. Level-triggered: it may be called at any time, by anyone.

The order carries the safety. The status is written first, against the resourceVersion that the decision was made from,
so a decision made from stale knowledge is refused as a whole; then the world is changed, each change such that making
it twice makes it once. A crash anywhere leaves something that the next call completes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from limr import validate
from limr.config_map import STOP
from limr.plan import ACTIVE, Child, Died, Observation, Plan, StageState, Status, plan, retry, with_retry
from limr.spec import Experiment
from limr.validate import InvalidSpec
from limr_operator import acceptance, diagnose, metrics, names
from limr_operator.announce import News, announce, tell
from limr_operator.api import Api, ApiError, NotFound
from limr_operator.objects import Attempt, Defaults, manifests, spec_digest
from limr_operator.objects.access import stop_request
from limr_operator.observe import leftovers, observation, observations
from limr_operator.shared_cluster import SharedClusters
from limr_operator.snapshot import ChildObjects, Object, SharedCluster, Snapshot, is_owned, trimmed

PREEMPTED = "Preempted"


@dataclass(frozen=True)
class Settings:
    defaults: Defaults
    strategies: frozenset[str] = frozenset()  # that trainer images bring beside the built-in ones


def reconcile(snapshot: Snapshot, api: Api, settings: Settings, now: datetime) -> float | None:
    """Returns after how many seconds to look again even if nothing happens; None: not before something does.

    Raises Conflict when `snapshot` is older than what the API has, and ApiError when the API refuses or is away.
    """
    manifest = snapshot.experiment
    metadata = manifest["metadata"]
    if "deletionTimestamp" in metadata:
        return None  # its objects go with it
    # A newer operator, which worked before a downgrade, may have said more than this one knows.
    before = Status.model_validate(manifest.get("status") or {}, extra="ignore")
    try:
        experiment = _experiment(manifest, settings)
    except InvalidSpec as invalid:
        problems = [str(mistake) for mistake in invalid.mistakes]
        status = acceptance.refused(before, problems, metadata["generation"], now)
        _store(manifest, status, before, api)
        return None
    children = snapshot.children()
    seen = _confirmed(before, children, observations(children, now), api, now)
    asked = with_retry(before, metadata.get("annotations", {}).get(retry.ANNOTATION, ""))
    schedule = experiment.spec.schedule
    shared = _shared_clusters(experiment, snapshot, settings.defaults)
    wait = shared.wait_for(children, now) if schedule.reuse_cluster else ""
    made = plan(experiment, asked, seen, now, root=experiment.root, slots=schedule.slots, engines_wait=wait)
    findings = acceptance.missing(experiment, api) if _begins(before, made.status) else []
    if findings:  # nothing new begins; what runs is looked after all the same
        made = plan(experiment, asked, seen, now, root=experiment.root, slots=0)
    status = acceptance.judged(made.status, before, findings, now)
    _store(manifest, status, before, api)
    metrics.count(before, status, now)
    try:
        waits = _act(made, children, leftovers(children, made.status, now), shared, api, settings.defaults, now)
    except ApiError:
        announce(experiment, before, status, api)  # the next look sees no change in what is stored by now
        raise
    announce(experiment, before, status, api)
    return _pause(made, waits or bool(findings), _expiry(experiment, status, api, now), now)


def _experiment(manifest: Mapping[str, Any], settings: Settings) -> Experiment:
    """Raises InvalidSpec. Of the metadata only what a stage is to know."""
    metadata = {key: manifest["metadata"][key] for key in ("name", "namespace", "uid", "generation")}
    return validate.from_manifest(
        {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": manifest.get("spec") or {}},
        settings.strategies,
    )


def _shared_clusters(experiment: Experiment, snapshot: Snapshot, defaults: Defaults) -> SharedClusters:
    digest = spec_digest(experiment, defaults) if experiment.spec.schedule.reuse_cluster else ""
    return SharedClusters(snapshot.shared_clusters(), snapshot.shared_pods(), digest)


def _begins(before: Status, after: Status) -> bool:
    """Whether an attempt would begin that has not begun before."""
    return any(
        stage.attempt > (before.stages[name].attempt if name in before.stages else 0)
        for name, stage in after.stages.items()
    )


def _confirmed(
    before: Status,
    children: Mapping[Child, ChildObjects],
    seen: dict[Child, Observation],
    api: Api,
    now: datetime,
) -> dict[Child, Observation]:
    """A child is not called dead because one watch was slower than another: the API is asked itself."""
    confirmed = dict(seen)
    for child, what in seen.items():
        stage = before.stages.get(child.stage)
        if isinstance(what, Died) and stage and stage.attempt == child.attempt and stage.state in ACTIVE:
            fresh = observation(_read(children[child], api), now)
            if fresh is None:
                del confirmed[child]
            else:
                confirmed[child] = fresh
    return confirmed


def _read(objects: ChildObjects, api: Api) -> ChildObjects:
    fresh = ChildObjects()
    metadata = (objects.config_map or objects.runner or {})["metadata"]
    namespace, labels = metadata["namespace"], metadata["labels"]
    for thing in (objects.config_map, objects.runner):
        if thing is None:
            continue
        try:
            body = trimmed(thing["kind"], api.get(thing["kind"], namespace, thing["metadata"]["name"]))
        except NotFound:
            continue
        fresh.add(body)
    if fresh.shared_name:
        bodies, pods = _read_shared(namespace, labels[names.EXPERIMENT], api)
        mine = [SharedCluster.of(body, pods) for body in bodies if body["metadata"]["name"] == fresh.shared_name]
        fresh.share(mine[0] if mine else None)
        return fresh
    selector = ",".join(f"{key}={labels[key]}" for key in (names.EXPERIMENT, names.STAGE, names.ATTEMPT))
    for pod in api.list("Pod", namespace, labelSelector=selector):
        fresh.add(trimmed("Pod", pod))
    return fresh


def _read_shared(namespace: str, experiment: str, api: Api) -> tuple[list[Object], list[Object]]:
    """RayClusters that stages share, and the Pods in them."""
    selector = f"{names.SHARED},{names.EXPERIMENT}={experiment}"
    clusters, pods = (
        [trimmed(kind, body) for body in api.list(kind, namespace, labelSelector=selector)]
        for kind in ("RayCluster", "Pod")
    )
    return clusters, pods


def _store(manifest: Mapping[str, Any], status: Status, before: Status, api: Api) -> None:
    if status != before:
        body = {**manifest, "status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}
        api.replace_status({**body, "apiVersion": names.API_VERSION, "kind": names.KIND})


def _act(
    made: Plan,
    children: Mapping[Child, ChildObjects],
    left_over: list[Child],
    shared: SharedClusters,
    api: Api,
    defaults: Defaults,
    now: datetime,
) -> bool:
    """Returns whether something is left to do later, which nothing may tell of."""
    going = {*made.deletions, *left_over}
    for child in sorted(going):
        _delete(children[child].runner, api)
    for cluster in shared.superfluous(children, going, made.keeps_cluster, now):
        _delete(cluster.body, api)
    waits = bool(shared.clusters) and not made.keeps_cluster
    for child in made.stops:
        _ask_to_stop(children.get(child), made.status.stages[child.stage].reason, api)
    for stage_input in made.children:
        child = Child(stage_input.stage.name, stage_input.attempt)
        objects = children.get(child, ChildObjects())
        if objects.runner is None or objects.config_map is None:
            attempt = _placed(Attempt(stage_input), shared, children, api, now)
            if attempt is None:
                waits = True
            else:
                _make(attempt, made.status, objects, api, defaults)
        elif diagnose.taken_away(objects.pods) and not objects.removing:
            _ask_to_stop(objects, PREEMPTED, api)
    return waits


def _placed(
    attempt: Attempt, shared: SharedClusters, children: Mapping[Child, ChildObjects], api: Api, now: datetime
) -> Attempt | None:
    """In the cluster that stages share, if they do; None while it cannot be used.

    The API is asked itself: a watch that lags must not give the experiment a second cluster.
    """
    if not attempt.shares:
        return attempt
    metadata = attempt.experiment.metadata
    bodies, pods = _read_shared(metadata.namespace, metadata.name, api)
    clusters = [SharedCluster.of(body, pods) for body in bodies if is_owned(body, metadata.uid)]
    shared = replace(shared, clusters=clusters, pods=pods)
    others = {child: objects for child, objects in children.items() if child != attempt.child}
    if shared.wait_for(others, now):
        return None
    cluster = shared.usable(now)
    return replace(attempt, shared_cluster=cluster.name) if cluster else attempt


def _make(attempt: Attempt, status: Status, objects: ChildObjects, api: Api, defaults: Defaults) -> None:
    """Makes what is missing; but what ran once is not run again under the same number."""
    state = status.stages[attempt.child.stage].state
    if objects.runner is None and state is not StageState.STARTING:
        return
    for manifest in manifests(attempt, defaults):
        api.ensure(manifest)


def _delete(thing: Object | None, api: Api) -> None:
    """In the foreground: it is seen until its last Pod is gone, and nothing begins in its place before."""
    if thing is not None and "deletionTimestamp" not in thing["metadata"]:
        metadata = thing["metadata"]
        api.delete(thing["kind"], metadata["namespace"], metadata["name"], metadata["uid"], "Foreground")


def _ask_to_stop(objects: ChildObjects | None, reason: str, api: Api) -> None:
    if objects and objects.config_map and STOP not in objects.config_map["data"]:
        api.apply(stop_request(objects.config_map, reason))


def _expiry(experiment: Experiment, status: Status, api: Api, now: datetime) -> datetime | None:
    """When the experiment is to be deleted; it is, when that has come. What it stored stays."""
    ttl, since = experiment.spec.ttl_seconds_after_finished, acceptance.finished_at(status)
    if ttl is None or since is None:
        return None
    end = since + timedelta(seconds=ttl)
    if now >= end:
        metadata = experiment.metadata
        api.delete(names.KIND, metadata.namespace, metadata.name, metadata.uid)
        words = f"it finished more than {ttl} s ago and is deleted; what it stored stays"
        tell(experiment, News("Expired", words), api)
        return None
    return end


def _pause(made: Plan, refused: bool, expiry: datetime | None, now: datetime) -> float | None:
    times = [at for at in (made.wake_at, expiry) if at]
    if refused:
        times.append(now + timedelta(seconds=acceptance.RECHECK_SECONDS))
    return max(0.1, (min(times) - now).total_seconds()) if times else None
