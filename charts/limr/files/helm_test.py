"""What `helm test` runs: applies an experiment, waits for a condition of it, deletes it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes import client, config

WHERE = {"group": "limr.dev", "version": "v1alpha1", "plural": "limrexperiments"}
POLL_SECONDS = 2.0
REMOVAL_SECONDS = 180.0

Object = dict[str, Any]


def main(folder: Path, wanted: str, seconds: float) -> None:
    """`folder` has experiment.json; `wanted` is the condition's type."""
    config.load_incluster_config()
    experiments = Experiments(json.loads((folder / "experiment.json").read_text("utf-8")))
    experiments.remove()  # what a test that was killed has left
    experiments.create()
    try:
        experiments.wait_for(wanted, seconds)
    finally:
        experiments.remove()


class Experiments:
    """The one experiment of the test."""

    def __init__(self, manifest: Object, api: client.CustomObjectsApi | None = None) -> None:
        self._manifest = manifest
        self._name = manifest["metadata"]["name"]
        self._where = {**WHERE, "namespace": manifest["metadata"]["namespace"]}
        self._api = api or client.CustomObjectsApi()
        self._said = ""

    def create(self) -> None:
        # Without strict validation the server would drop a misspelt field of tests.spec silently.
        self._api.create_namespaced_custom_object(**self._where, body=self._manifest, field_validation="Strict")

    def wait_for(self, wanted: str, seconds: float) -> None:
        """Ends the process with a sentence when the condition does not come."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = (self._read() or {}).get("status", {})
            self._say(status)
            if _holds(status, wanted):
                return
            for kind, value in (("Failed", "True"), ("Accepted", "False")):
                found = _condition(status, kind)
                if found.get("status") == value:
                    sys.exit(f"the experiment is {kind}={value} ({found['reason']}): {found['message']}")
            time.sleep(POLL_SECONDS)
        sys.exit(f"the experiment was not {wanted} within {seconds:g} s; see `kubectl describe limr {self._name}`")

    def remove(self) -> None:
        """Returns when it and all that it owns is gone."""
        try:
            self._api.delete_namespaced_custom_object(**self._where, name=self._name, propagation_policy="Foreground")
        except client.ApiException as error:
            if error.status != 404:
                raise
        end = time.monotonic() + REMOVAL_SECONDS
        while self._read() is not None:
            if time.monotonic() > end:
                sys.exit(f"the experiment was not gone {REMOVAL_SECONDS:g} s after its deletion")
            time.sleep(POLL_SECONDS)

    def _read(self) -> Object | None:
        try:
            found: Object = self._api.get_namespaced_custom_object(**self._where, name=self._name)
        except client.ApiException as error:
            if error.status != 404:
                raise
            return None
        return found

    def _say(self, status: Mapping[str, Any]) -> None:
        words = " ".join(status[key] for key in ("phase", "stage", "progress") if status.get(key)) or "not seen yet"
        if words != self._said:
            print(words, flush=True)
        self._said = words


def _holds(status: Mapping[str, Any], wanted: str) -> bool:
    return _condition(status, wanted).get("status") == "True"


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, str]:
    return next((found for found in status.get("conditions", ()) if found["type"] == kind), {})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
