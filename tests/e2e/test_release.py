"""`helm test` of the release, in a real Pod."""

from __future__ import annotations

import pytest
from chart.helm import helm
from cluster.kubectl import Kubectl
from cluster.node.addons import install_credentials
from node_lab import STORAGE, SYSTEM, install

pytestmark = [pytest.mark.timeout(1200)]

TEST_SECONDS = 900


def test_helm_test_runs_a_tiny_experiment_to_its_end(installed: Kubectl) -> None:
    install_credentials(installed, SYSTEM)
    install(installed, *(f"--set=tests.storage.{key}={value}" for key, value in STORAGE.items()))
    command = ("test", "limr", "-n", SYSTEM, f"--timeout={TEST_SECONDS}s")
    said = helm(*command, kubeconfig=installed.kubeconfig, seconds=TEST_SECONDS + 30)
    assert "Succeeded" in said
    assert not installed("get", "limr", "-n", SYSTEM, "-o", "name")
