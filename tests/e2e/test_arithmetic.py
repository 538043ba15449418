"""The whole thing: chart, operator, KubeRay, real engines, S3, on the test node (`make e2e`)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chart.helm import CHART, helm
from cluster.kubectl import Kubectl

from limr.store import open_store
from limr.store.base import Store
from limr.store.manifest import read_manifest
from limr.store.trajectories import iter_steps

pytestmark = [pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
SYSTEM = "limr-system"
NAMESPACE = "default"
ENDPOINT = "http://10.96.0.20"
RUN_SECONDS = 2400
OURS = "app.kubernetes.io/managed-by=limr"
KINDS = "rayjobs,jobs,pods,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"


@pytest.fixture(scope="module")
def installed(kubectl: Kubectl) -> Iterator[Kubectl]:
    images = {"image": "limr.test/operator", "trainer.image": "limr.test/trainer"}
    settings = [f"--set={key}.repository={image},{key}.tag=dev,{key}.pullPolicy=Never" for key, image in images.items()]
    helm(
        *("upgrade", "--install", "limr", CHART, "-n", SYSTEM, "--create-namespace", "--wait", "--timeout", "2m"),
        *settings,
        kubeconfig=kubectl.kubeconfig,
        seconds=180,
    )
    yield kubectl
    helm("uninstall", "limr", "-n", SYSTEM, "--wait", kubeconfig=kubectl.kubeconfig)


@pytest.fixture(scope="module")
def finished(installed: Kubectl) -> Iterator[dict[str, Any]]:
    """The arithmetic example, run to its end."""
    installed("apply", "-k", ROOT / "examples/arithmetic")
    deadline = time.monotonic() + RUN_SECONDS
    shown = ""
    while True:
        now = installed("get", "limr", "arithmetic", "-n", NAMESPACE, "--no-headers").split()
        if " ".join(now[:-1]) != shown:
            shown = " ".join(now[:-1])
            print(shown, flush=True)
        experiment = installed.get("limr", "arithmetic", "-n", NAMESPACE)
        if experiment.get("status", {}).get("phase") in ("Complete", "Failed"):
            break
        assert time.monotonic() < deadline, experiment["status"]
        time.sleep(5)
    yield experiment
    installed("delete", "limr", "arithmetic", "-n", NAMESPACE, "--ignore-not-found")


@pytest.fixture(scope="module")
def store(finished: dict[str, Any], installed: Kubectl) -> Iterator[Store]:
    secret = installed.get("secret", "s3", "-n", NAMESPACE)["data"]
    name = f"{finished['metadata']['name']}-{finished['metadata']['uid'][:8]}"
    with pytest.MonkeyPatch.context() as environment:
        for key, value in secret.items():
            decoded = subprocess.run(["base64", "-d"], input=value, capture_output=True, text=True, check=True).stdout
            environment.setenv(key, decoded)
        yield open_store(f"s3://limr/experiments/{NAMESPACE}/{name}", ENDPOINT)


def test_it_completes_with_a_table_of_results(finished: dict[str, Any]) -> None:
    status = finished["status"]
    assert status["phase"] == "Complete", status["conditions"]
    assert {name: stage["attempt"] for name, stage in status["stages"].items()} == dict.fromkeys(status["stages"], 1)
    results = {row["name"]: row["benchmarks"]["sums"] for row in status["results"]}
    assert results.keys() >= {"base", "lim", "random", "full"}
    for interval in results.values():
        assert interval["low"] <= interval["mean"] <= interval["high"]
    assert results["full"]["mean"] > results["base"]["mean"]
    for column in ("selected", "best", "spent"):
        assert status[column]


def test_the_bucket_has_every_step_once_and_the_report(finished: dict[str, Any], store: Store) -> None:
    for stage in ("probe", "train-lim-s1", "train-random-s1"):
        manifest = read_manifest(store, stage)
        assert manifest.finished
        assert [record.step for record in manifest.steps] == list(range(1, manifest.last_step + 1))
        columns = ["step", "prompt_id", "sample"]
        rows = [
            tuple(row[column] for column in columns)
            for table in iter_steps(store, stage, manifest, columns)
            for row in table.to_pylist()
        ]
        assert len(set(rows)) == len(rows) > 0
    assert json.loads(store.get("report/results.json"))["table"]
    assert store.get("report/index.html").startswith(b"<!doctype html>")


def test_nothing_is_left_of_a_deleted_experiment(finished: dict[str, Any], store: Store, installed: Kubectl) -> None:
    installed("delete", "limr", "arithmetic", "-n", NAMESPACE)
    deadline = time.monotonic() + 180
    while left := installed("get", KINDS, "-n", NAMESPACE, "-l", OURS, "-o", "name").split():
        assert time.monotonic() < deadline, left
        time.sleep(2)
    assert store.get("report/index.html")  # what it stored stays
