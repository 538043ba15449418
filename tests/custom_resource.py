"""LIMRExperiments on a real API server, applied as kubectl would but from this process: some milliseconds each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes import client, config

API_VERSION = "limr.dev/v1alpha1"
WHERE = {"group": "limr.dev", "version": "v1alpha1", "plural": "limrexperiments"}


class Refused(Exception):
    """What the API server said."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(answer["message"])
        self.sentences = [cause["message"] for cause in answer.get("details", {}).get("causes", ())]


class Experiments:
    """In one namespace. A manifest's own namespace must be that."""

    def __init__(self, kubeconfig: Path, namespace: str = "default") -> None:
        self._where = {**WHERE, "namespace": namespace}
        self._api = client.CustomObjectsApi(config.new_client_from_config(str(kubeconfig)))

    def apply(self, manifest: Mapping[str, Any], dry_run: bool = False) -> dict[str, Any]:
        """By server-side apply with strict validation: the object as it is then stored. Raises Refused."""
        return self._patched(self._api.patch_namespaced_custom_object, manifest, {"dry_run": "All"} if dry_run else {})

    def apply_status(self, name: str, status: Mapping[str, Any]) -> dict[str, Any]:
        """The same for the status of an object that exists."""
        body = {"apiVersion": API_VERSION, "kind": "LIMRExperiment", "metadata": {"name": name}, "status": status}
        return self._patched(self._api.patch_namespaced_custom_object_status, body, {})

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get_namespaced_custom_object(**self._where, name=name)
        return found

    def delete(self, name: str) -> None:
        self._api.delete_namespaced_custom_object(**self._where, name=name)

    def _patched(self, call: Any, manifest: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
        try:
            answer = call(
                **self._where,
                **options,
                name=manifest["metadata"]["name"],
                body=manifest,
                field_manager="test",
                field_validation="Strict",
                force=True,
                _content_type="application/apply-patch+yaml",
                _preload_content=False,  # the client knows no answer to a patch that creates
            )
        except client.ApiException as error:
            raise Refused(json.loads(error.body)) from None
        stored: dict[str, Any] = json.loads(answer.data)
        return stored
