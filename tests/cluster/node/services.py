"""What runs on the node: programs with their arguments, and the users they are in the API server's eyes."""

from __future__ import annotations

from cluster import commands
from cluster.authority import Authority
from cluster.commands import KUBERNETES_SERVICE, Command, Endpoint
from cluster.kubeconfig import write_kubeconfig
from cluster.kubernetes_module import kubernetes_program
from cluster.node.layout import API_PORT, CLUSTER_CIDR, NODE_ADDRESS, NODE_NAME, Layout
from cluster.packages import program

API = Endpoint(NODE_ADDRESS, API_PORT)
STORAGE = Endpoint("127.0.0.1", 2379)  # the node's own loopback
PEERS = Endpoint("127.0.0.1", 2380)
API_NAMES = (NODE_ADDRESS, KUBERNETES_SERVICE, "kubernetes.default.svc", "kubernetes.default", "kubernetes")

# File name -> user and groups. RBAC has rules for all of them from the start.
USERS = {
    "admin": ("limr-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager",),
    "scheduler": ("system:kube-scheduler",),
    "kube-proxy": ("system:kube-proxy",),
    "node": (f"system:node:{NODE_NAME}", "system:nodes"),
}


def node_services(layout: Layout) -> dict[str, Command]:
    """Writes certificates and kubeconfigs; returns name -> command."""
    authority = Authority.create(layout.pki)
    for file, (user, *groups) in USERS.items():
        pair = authority.issue(user, groups, file=file)
        write_kubeconfig(layout.user(file), API.https, authority.files.certificate, pair)
    return {
        "etcd": commands.etcd(layout.state / "etcd", STORAGE, PEERS),
        "kube-apiserver": _api_server(layout, authority),
        "kube-controller-manager": _controller_manager(layout, authority),
        "kube-scheduler": _scheduler(layout),
        "containerd": [program("containerd"), "--config", layout.state / "containerd.toml"],
        "kubelet": _kubelet(layout, authority),
        "kube-proxy": [kubernetes_program("kube-proxy"), "--config", layout.state / "kube-proxy.yaml"],
    }


def _api_server(layout: Layout, authority: Authority) -> Command:
    serving = authority.issue("kube-apiserver", addresses=API_NAMES)
    accounts = authority.issue("service-accounts")
    extra: Command = [
        *("--kubelet-client-certificate", layout.pki / "admin.crt"),
        *("--kubelet-client-key", layout.pki / "admin.key"),
        *("--kubelet-certificate-authority", authority.files.certificate),
        "--kubelet-preferred-address-types=InternalIP",  # nobody can resolve the node's name
        "--enable-admission-plugins=NodeRestriction",
    ]
    return commands.api_server(API, STORAGE, authority.files, serving, accounts, extra)


def _controller_manager(layout: Layout, authority: Authority) -> Command:
    accounts = authority.key_pair("service-accounts")
    extra: Command = ["--allocate-node-cidrs", "--cluster-cidr", CLUSTER_CIDR]
    return commands.controller_manager(layout.user("controller-manager"), authority.files, accounts, extra)


def _scheduler(layout: Layout) -> Command:
    kubeconfig = layout.user("scheduler")
    return [
        *(kubernetes_program("kube-scheduler"), "--kubeconfig", kubeconfig, "--leader-elect=false"),
        *("--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig),
    ]


def _kubelet(layout: Layout, authority: Authority) -> Command:
    authority.issue(NODE_NAME, addresses=(NODE_ADDRESS, NODE_NAME), file="kubelet")
    return [
        *(kubernetes_program("kubelet"), "--config", layout.state / "kubelet.yaml"),
        *("--kubeconfig", layout.user("node"), "--root-dir", layout.state / "kubelet"),
        *("--hostname-override", NODE_NAME, "--node-ip", NODE_ADDRESS),
    ]
