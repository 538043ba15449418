"""`python -m cluster`: the real test cluster, one node on this machine."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

from cluster.images import OURS, build_gpu_trainer, build_ours, check_gpu_trainer
from cluster.kubectl import Kubectl
from cluster.node.addons import S3_BUCKET, S3_ENDPOINT
from cluster.node.cluster import down, up
from cluster.node.containerd import Containerd
from cluster.node.layout import Layout
from cluster.node.machine import node_pid
from cluster.packages import IMAGES, install_missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, run in (
        ("up", _up),
        ("down", _down),
        ("status", _status),
        ("images", _images),
        ("gpu-image", _gpu_image),
    ):
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
    load = commands.add_parser("load-image", help=_load_image.__doc__)
    load.add_argument("tag")
    load.set_defaults(run=_load_image)
    options = parser.parse_args()
    layout = Layout.of_this_machine()
    run: Callable[[Layout, argparse.Namespace], int] = options.run
    try:
        return run(layout, options)
    except (RuntimeError, TimeoutError, OSError, subprocess.TimeoutExpired) as error:
        logs = f"\nlogs: {layout.logs}" if layout.logs.exists() else ""
        print(f"cluster: {error}{logs}", file=sys.stderr)
        return 1


def _up(layout: Layout, options: argparse.Namespace) -> int:
    """start it, or bring a started one to its full state"""
    up(layout)
    print(f"export KUBECONFIG={layout.kubeconfig}")
    print(f"# storage for experiments: s3://{S3_BUCKET}/…, endpoint {S3_ENDPOINT}, credentialsSecret s3")
    print("# next: make images")
    return 0


def _down(layout: Layout, options: argparse.Namespace) -> int:
    """end it and delete its state"""
    down(layout)
    return 0


def _status(layout: Layout, options: argparse.Namespace) -> int:
    """show its node and its Pods"""
    if node_pid(layout) is None:
        print("no cluster runs here; next: make cluster-up")
        return 1
    print(f"export KUBECONFIG={layout.kubeconfig}")
    kubectl = Kubectl(layout.kubeconfig)
    print(kubectl("get", "nodes") + kubectl("get", "pods", "--all-namespaces"), end="")
    return 0


def _images(layout: Layout, options: argparse.Namespace) -> int:
    """build this checkout's images and load them"""
    install_missing(IMAGES)
    for target in OURS:
        tag = build_ours(target)
        print(tag, flush=True)
        if node_pid(layout) is not None:
            Containerd(layout).load(tag)
    return 0


def _gpu_image(layout: Layout, options: argparse.Namespace) -> int:
    """build this checkout's trainer for GPUs, and check in it what can be checked without one"""
    install_missing(IMAGES)
    tag = build_gpu_trainer()
    print(check_gpu_trainer(tag) + tag)
    return 0


def _load_image(layout: Layout, options: argparse.Namespace) -> int:
    """copy an image of buildah's store to the node"""
    Containerd(layout).load(options.tag)
    return 0


if __name__ == "__main__":
    sys.exit(main())
