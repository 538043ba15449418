"""What is kept of what the watches deliver."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf

from limr_operator import names
from limr_operator.watches import SETTLE_SECONDS, Key, Watches

KEY = ("research", "demo")


class Deliveries:
    """Watches, and the keys that they woke, with the seconds to wait."""

    def __init__(self) -> None:
        self.woken: list[tuple[Key, float]] = []
        self.watches = Watches(
            kopf.OperatorRegistry(), lambda key, after: self.woken.append((key, after)), lambda lease: None
        )

    def experiment(self, type: str | None, uid: str, generation: int = 1, observed: int | None = None) -> None:
        metadata = {"namespace": KEY[0], "name": KEY[1], "uid": uid, "generation": generation, "managedFields": [{}]}
        status = {} if observed is None else {"observedGeneration": observed}
        body = kopf.Body({"metadata": metadata, "spec": {}, "status": status})  # type: ignore[typeddict-unknown-key]
        asyncio.run(self.watches._on_experiment(type=type, body=body, namespace=KEY[0], name=KEY[1]))

    def child(self, type: str | None, uid: str, **labels: str) -> None:
        labels = {names.EXPERIMENT: KEY[1], names.STAGE: "probe", names.ATTEMPT: "1", **labels}
        owners = [{"uid": "e1"}]
        metadata: dict[str, Any] = {"namespace": KEY[0], "name": uid, "uid": uid, "labels": labels}
        body = kopf.Body({"metadata": {**metadata, "ownerReferences": owners}, "data": {}})  # type: ignore
        asyncio.run(self.watches._on_child(type=type, body=body, namespace=KEY[0], param="ConfigMap"))


def test_an_experiment_with_its_children() -> None:
    seen = Deliveries()
    seen.child(None, "c1")
    assert seen.watches.snapshot(KEY) is None
    seen.experiment(None, "e1")
    snapshot = seen.watches.snapshot(KEY)
    assert snapshot is not None
    assert "managedFields" not in snapshot.experiment["metadata"]
    assert [thing["metadata"]["name"] for thing in snapshot.objects] == ["c1"]
    assert list(seen.watches) == [KEY]
    seen.child("DELETED", "c1")
    seen.experiment("DELETED", "e1")
    assert seen.watches.snapshot(KEY) is None
    assert list(seen.watches) == []


def test_a_successor_of_the_same_name_outlives_the_late_end_of_the_first() -> None:
    seen = Deliveries()
    seen.experiment("ADDED", "e1")
    seen.experiment("ADDED", "e2")
    seen.experiment("MODIFIED", "e1")
    seen.experiment("DELETED", "e1")
    snapshot = seen.watches.snapshot(KEY)
    assert snapshot is not None
    assert snapshot.experiment["metadata"]["uid"] == "e2"


def test_what_went_while_a_watch_was_away_is_forgotten() -> None:
    seen = Deliveries()
    assert seen.watches.uids() == set()
    seen.experiment(None, "e1")
    for uid in ("c1", "c2"):
        seen.child(None, uid)
    assert seen.watches.uids() == {"e1", "c1", "c2"}
    seen.watches.forget({"c1", "another"})
    assert seen.watches.uids() == {"e1", "c2"}
    seen.watches.forget({"e1", "c2"})
    assert list(seen.watches) == []


def test_a_change_of_the_spec_is_looked_at_at_once_and_what_we_wrote_a_little_later() -> None:
    seen = Deliveries()
    seen.experiment("ADDED", "e1")
    seen.experiment("MODIFIED", "e1", observed=1)
    seen.experiment("MODIFIED", "e1", generation=2, observed=1)
    seen.child("ADDED", "c1")
    assert seen.woken == [(KEY, after) for after in (0.0, SETTLE_SECONDS, 0.0, SETTLE_SECONDS)]
