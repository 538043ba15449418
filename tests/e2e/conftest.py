"""These need the test node; without it they fail, and say what to do."""

from __future__ import annotations

import pytest
from cluster.kubectl import Kubectl
from cluster.node.layout import Layout
from cluster.node.machine import node_pid


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    layout = Layout.of_this_machine()
    if node_pid(layout) is None:
        pytest.fail("no test node runs here; next: make cluster-up images")
    return Kubectl(layout.kubeconfig)
