"""Which of the operator's replicas may write: the one that holds a Lease, while it can prove it to itself.

The library's own election is not used because it cannot be asked, just before a write, whether the lease still stands.
Other replicas' clocks are not trusted: a follower takes over when it has seen the same record for the whole duration by
its own clock, and a leader stops earlier than that, by its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from limr_operator import names
from limr_operator.api import Api, ApiError, Conflict, NotFound, micro_time

DURATION_SECONDS = 15.0  # without renewal, after which another replica takes over
STAND_SECONDS = 10.0  # after its last renewal, how long a leader may write
RETRY_SECONDS = 2.0

_log = logging.getLogger(__name__)


class NotLeading(Exception):
    """This replica must not write now."""


class Lease:
    """`try_to_lead` is called every RETRY_SECONDS by one thread; `check` before each write, by any."""

    def __init__(
        self, api: Api, namespace: str, name: str, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._namespace, self._name, self._identity = namespace, name, identity
        self._clock = clock
        self._stands_until = float("-inf")
        self._seen: tuple[Any, float] | None = None  # another's record, and since when it has been the same
        self.renewed_at = ""  # the newest renewTime that was written or read here

    @property
    def leading(self) -> bool:
        return self._clock() < self._stands_until

    def check(self) -> None:
        """Raises NotLeading. The monotonic clock goes on while a process is stopped, so one that wakes up knows."""
        if not self.leading:
            raise NotLeading(f"{self._identity} does not hold the lease {self._name}")

    def try_to_lead(self) -> bool:
        asked_at = self._clock()
        try:
            won = self._claim(asked_at)
        except ApiError as error:
            _log.warning("the lease could not be renewed: %s", error)
            return self.leading
        if won:
            self._stands_until = asked_at + STAND_SECONDS
        elif self.leading:
            self._stands_until = float("-inf")
        return won

    def release(self) -> None:
        """Lets another replica lead at once: the last thing that a leader does."""
        if not self.leading:
            return
        self._stands_until = float("-inf")
        try:
            record = self._api.get("Lease", self._namespace, self._name)
            if record["spec"].get("holderIdentity") == self._identity:
                record["spec"]["holderIdentity"] = ""
                self._api.replace(record)
        except ApiError as error:
            _log.warning("the lease was not released: %s", error)

    def _claim(self, asked_at: float) -> bool:
        try:
            record = self._api.get("Lease", self._namespace, self._name)
        except NotFound:
            return self._written(self._api.create, self._record({}, {}))
        spec = record.get("spec", {})
        self.renewed_at = max(self.renewed_at, spec.get("renewTime") or "")
        holder = spec.get("holderIdentity")
        if holder and holder != self._identity and not self._abandoned(spec, asked_at):
            return False
        return self._written(self._api.replace, self._record(record["metadata"], spec))

    def _abandoned(self, spec: dict[str, Any], now: float) -> bool:
        mark = (spec.get("holderIdentity"), spec.get("renewTime"))
        if self._seen is None or self._seen[0] != mark:
            self._seen = (mark, now)
        return now - self._seen[1] >= float(spec.get("leaseDurationSeconds") or DURATION_SECONDS)

    def _record(self, metadata: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        now = micro_time()
        mine = before.get("holderIdentity") == self._identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                **{key: value for key, value in metadata.items() if key != "managedFields"},
                "name": self._name,
                "namespace": self._namespace,
                "labels": {names.MANAGED_BY: names.MANAGER},
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(DURATION_SECONDS),
                "acquireTime": before.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not mine),
            },
        }

    def _written(self, write: Callable[[dict[str, Any]], Any], record: dict[str, Any]) -> bool:
        try:
            write(record)
        except Conflict:  # another replica was faster
            return False
        return True
