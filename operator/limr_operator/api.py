"""The Kubernetes API as the operator uses it: plain objects in, plain objects out.

Every write asks the fence first: an operator that has lost its Lease must not write any more, whatever it was about to
do. The library's own models are not used, because most objects here have none (RayJob, LIMRExperiment).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import kubernetes
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from limr_operator import names

REQUEST_SECONDS = 15.0
PAGE = 200  # objects of a list, so that neither side holds all of a large cluster at once
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    group: str  # "" for the core group
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


KINDS = {
    names.KIND: Kind(names.GROUP, names.VERSION, names.PLURAL),
    "RayJob": Kind("ray.io", "v1", "rayjobs"),
    "RayCluster": Kind("ray.io", "v1", "rayclusters"),
    "Job": Kind("batch", "v1", "jobs"),
    "Pod": Kind("", "v1", "pods"),
    "ConfigMap": Kind("", "v1", "configmaps"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "Event": Kind("", "v1", "events"),
    "Role": Kind("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": Kind("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
    "Lease": Kind("coordination.k8s.io", "v1", "leases"),
    "LocalQueue": Kind("kueue.x-k8s.io", "v1beta1", "localqueues"),
    "PriorityClass": Kind("scheduling.k8s.io", "v1", "priorityclasses", namespaced=False),
}


def micro_time() -> str:
    """Now, as the API writes times with fractions of a second."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class ApiError(Exception):
    """The API server refused or could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status  # 0: there was no answer


class NotFound(ApiError):
    """There is no such object, or no such kind."""


class Conflict(ApiError):
    """Somebody else has changed the object since it was read."""


class Api:
    """`fence` raises when this process may not write."""

    def __init__(self, client: kubernetes.client.ApiClient, fence: Callable[[], None]) -> None:
        self._client = client
        self._fence = fence
        self._served: set[str] = set()

    def get(self, kind: str, namespace: str | None, name: str) -> Object:
        return self._request("GET", KINDS[kind].path(namespace, name))

    def list(self, kind: str, namespace: str | None, **query: str) -> list[Object]:
        items: list[Object] = self._request("GET", _with(KINDS[kind].path(namespace), query))["items"]
        return items

    def uids(self, kind: str, namespace: str | None, label_selector: str = "") -> Iterator[str]:
        """Of all objects, in pages; none where there is no such kind. `namespace` None: of all namespaces."""
        query = {"labelSelector": label_selector, "limit": str(PAGE), "continue": ""}
        while True:
            try:
                page = self._request("GET", _with(KINDS[kind].path(namespace), query), accept=METADATA_ONLY)
            except NotFound:
                return
            yield from (item["metadata"]["uid"] for item in page["items"] or ())
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    def serves(self, kind: str) -> bool:
        """Whether there is such a kind at all. Asked once, and again when `ensure` has not found it."""
        if kind not in self._served:
            try:
                found = self._request("GET", f"/apis/{KINDS[kind].group}/{KINDS[kind].version}")["resources"]
            except NotFound:
                return False
            if any(resource["name"] == KINDS[kind].plural for resource in found):
                self._served.add(kind)
        return kind in self._served

    def apply(self, manifest: Object) -> Object:
        """Server-side apply: what `manifest` says holds afterwards, whoever else has said otherwise."""
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        return self._write("PATCH", _with(_path(manifest), query), manifest, "application/apply-patch+yaml")

    def ensure(self, manifest: Object) -> Object:
        """As `apply`, for what is most likely not there: creating it costs the server less."""
        try:
            return self.create(manifest)
        except Conflict:
            return self.apply(manifest)
        except NotFound:
            self._served.discard(manifest["kind"])
            raise

    def create(self, manifest: Object) -> Object:
        """Raises Conflict when it is there already."""
        path = KINDS[manifest["kind"]].path(manifest["metadata"].get("namespace"))
        return self._write("POST", _with(path, {"fieldManager": names.FIELD_MANAGER}), manifest)

    def replace(self, manifest: Object) -> Object:
        """Raises Conflict when the object is not of the resourceVersion that `manifest` has."""
        return self._write("PUT", _path(manifest), manifest)

    def replace_status(self, manifest: Object) -> Object:
        """As `replace`, of the status alone. Raises Conflict also when the object is gone: `manifest` is older."""
        try:
            return self._write("PUT", f"{_path(manifest)}/status", manifest)
        except NotFound as gone:
            raise Conflict(gone.status, str(gone)) from gone

    def delete(self, kind: str, namespace: str, name: str, uid: str, propagation: str = "Background") -> None:
        """Removes exactly the object with that uid; nothing happens when it is gone or is another one."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": propagation}
        with suppress(NotFound, Conflict):
            self._write("DELETE", KINDS[kind].path(namespace, name), body)

    def _write(self, method: str, path: str, body: Object, content_type: str = "application/json") -> Object:
        self._fence()
        return self._request(method, path, body, content_type)

    def _request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        where = f"{method} {path.partition('?')[0]}"
        headers = {"Accept": accept, "Content-Type": content_type}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        # The library dumps JSON bodies itself, but takes a text as it is.
        data = json.dumps(body) if content_type.endswith("yaml") else body
        try:
            answer = self._client.rest_client.request(
                method,
                self._client.configuration.host + path,
                headers=headers,
                body=data,
                _request_timeout=REQUEST_SECONDS,
            )
        except ApiException as error:
            raise _error(error.status or 0, f"{where}: {_words(error.body or error.reason or '')}") from None
        except HTTPError as error:
            raise ApiError(0, f"{where}: {error}") from None
        raw = answer.read() if answer.data is None else answer.data
        if not 200 <= answer.status < 300:
            raise _error(answer.status, f"{where}: {_words(raw)}")
        parsed: Object = json.loads(raw)
        return parsed


def _error(status: int, message: str) -> ApiError:
    if status == 404:
        return NotFound(status, message)
    return Conflict(status, message) if status == 409 else ApiError(status, message)


def _words(body: str | bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace") if isinstance(body, bytes) else body


def _path(manifest: Object) -> str:
    metadata = manifest["metadata"]
    return KINDS[manifest["kind"]].path(metadata.get("namespace"), metadata["name"])


def _with(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
