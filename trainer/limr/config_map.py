"""The channel of a stage on a cluster: one ConfigMap of its own, which its ServiceAccount may patch and nothing else.

The operator writes `input` and, to suspend, `stop`; the stage writes `pod`, where it runs, `progress` and `result`.
Every answer to a patch is the whole ConfigMap, so patching is all the right that the stage needs.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping

import kubernetes
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from limr.channel import Channel
from limr.config_map_keys import INPUT, POD, PROGRESS, RESULT, STOP
from limr.errors import LimrError
from limr.stage import Progress, StageInput, StageResult

__all__ = ["INPUT", "POD", "PROGRESS", "RESULT", "STOP", "ConfigMapChannel"]

PATCH_SECONDS = 5.0  # between two looks at `stop`
REQUEST_SECONDS = 10.0
DEADLINE_SECONDS = 300.0  # for the input and for the result; in between the API may be away as long as it likes

_log = logging.getLogger(__name__)


class ConfigMapChannel(Channel):
    """Reads and patches ConfigMap `name`; a thread of its own brings progress, so that work never waits for the API."""

    def __init__(self, namespace: str, name: str, api: kubernetes.client.ApiClient | None = None) -> None:
        super().__init__()
        if api is None:
            kubernetes.config.load_incluster_config()
        self._api = kubernetes.client.CoreV1Api(api)
        self._namespace, self._name = namespace, name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._bring_progress, daemon=True)

    def read_input(self) -> StageInput:
        data = self._insist({POD: socket.gethostname(), PROGRESS: self.last.to_json()})
        if INPUT not in data:
            raise LimrError(f"{self._where}: has no {INPUT!r}; it was not made by the operator: apply the experiment")
        self._thread.start()
        return StageInput.model_validate_json(data[INPUT])

    def _bring(self, progress: Progress) -> None:
        """Nothing: the thread brings what was said last."""

    def finish(self, result: StageResult) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._insist({PROGRESS: self.last.to_json(), RESULT: result.to_json()})

    @property
    def _where(self) -> str:
        return f"ConfigMap {self._namespace}/{self._name}"

    def _bring_progress(self) -> None:
        while not self._ended.wait(PATCH_SECONDS):
            try:
                self._patch({PROGRESS: self.last.to_json()})
            except (ApiException, HTTPError) as error:
                _log.warning("%s: progress was not written: %s", self._where, _words(error))
                if isinstance(error, ApiException) and error.status in (403, 404):
                    self.stop()  # the experiment was deleted, or a later attempt has the stage

    def _insist(self, data: Mapping[str, str]) -> Mapping[str, str]:
        """Patches until it is answered. Raises LimrError when it is refused, or not answered in time."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return self._patch(data)
            except (ApiException, HTTPError) as error:
                refused = isinstance(error, ApiException) and error.status in (401, 403, 404, 413, 422)
                if refused or time.monotonic() > deadline:
                    raise LimrError(
                        f"{self._where}: cannot be written: {_words(error)}; check that it exists, and the Role of "
                        "the stage's ServiceAccount"
                    ) from None
                time.sleep(1.0)

    def _patch(self, data: Mapping[str, str]) -> Mapping[str, str]:
        answer = self._api.patch_namespaced_config_map(
            self._name,
            self._namespace,
            {"data": dict(data)},
            field_manager="limr-stage",
            _content_type="application/merge-patch+json",
            _request_timeout=REQUEST_SECONDS,
        )
        found: Mapping[str, str] = answer.data or {}
        if found.get(STOP):
            self.stop()
        return found


def _words(error: ApiException | HTTPError) -> str:
    return f"{error.status} {error.reason}" if isinstance(error, ApiException) else str(error)
