"""Up and down: a whole one-node cluster on this machine, step by step."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys

from cluster.binaries import build_all
from cluster.daemons import answers, wait_until
from cluster.images import build_node_images
from cluster.kubectl import Kubectl
from cluster.node import addons
from cluster.node.containerd import Containerd
from cluster.node.layout import NODE_NAME, Layout
from cluster.node.machine import node_pid, start_node, stop_node
from cluster.node.services import API, node_services
from cluster.node.settings import write_settings

API_SECONDS = 120.0
NODE_SECONDS = 120.0


def up(layout: Layout) -> None:
    """Makes what is missing; says each step. Raises RuntimeError or TimeoutError with the step that failed."""
    if os.geteuid() != 0:
        raise RuntimeError("only root can make the namespaces that the test node lives in")
    _say("programs: built once, which takes minutes")
    build_all(only_control_plane=False)
    images = build_node_images()
    if node_pid(layout) is None:
        down(layout)
        _say("node: starting it")
        _start(layout)
    wait_until(lambda: _api_is_ready(layout), "the API server is ready", API_SECONDS)
    containerd = Containerd(layout)
    wait_until(containerd.answers, "containerd answers", NODE_SECONDS)
    for image in sorted(set(images) - containerd.images()):
        _say(f"image: {image}")
        containerd.load(image)
    kubectl = Kubectl(layout.kubeconfig)
    wait_until(lambda: _node_is_ready(kubectl), "the node is Ready", NODE_SECONDS)
    _say("Pods: DNS, KubeRay, S3")
    addons.install_dns(kubectl)
    addons.install_kuberay(kubectl)
    addons.install_s3(kubectl, layout)
    addons.wait_for_addons(kubectl)
    addons.make_bucket(kubectl)


def down(layout: Layout) -> None:
    """Ends the node and deletes its state. Programs and images stay for the next one."""
    stop_node(layout)
    if layout.state.exists():
        shutil.rmtree(layout.state)


def _start(layout: Layout) -> None:
    for folder in (layout.images, layout.logs):
        folder.mkdir(parents=True, exist_ok=True)
    layout.state.chmod(0o700)
    services = {name: [str(part) for part in command] for name, command in node_services(layout).items()}
    layout.services.write_text(json.dumps(services))
    write_settings(layout)
    start_node(layout)


def _api_is_ready(layout: Layout) -> bool:
    if node_pid(layout) is None:
        raise RuntimeError("the node ended while it started")
    context = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
    return answers(f"{API.https}/readyz", context)


def _node_is_ready(kubectl: Kubectl) -> bool:
    ready = '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    return kubectl.run("get", "node", NODE_NAME, ready).stdout == "True"


def _say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)
