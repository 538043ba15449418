"""The settings files of the node's programs."""

from __future__ import annotations

import json
from typing import Any

import yaml

from cluster.images import PAUSE_IMAGE
from cluster.node.layout import CLUSTER_CIDR, DNS_ADDRESS, POD_CIDR, Layout

CNI_PROGRAMS = "/usr/lib/cni"


def write_settings(layout: Layout) -> None:
    """All of them, below the state folder."""
    network = layout.state / "cni" / "10-limr.conflist"
    network.parent.mkdir(exist_ok=True)
    network.write_text(json.dumps(_network()))
    (layout.state / "containerd.toml").write_text(_containerd(layout))
    (layout.state / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(layout)))
    (layout.state / "kube-proxy.yaml").write_text(yaml.safe_dump(_kube_proxy(layout)))
    (layout.state / "resolv.conf").write_text("")  # nobody outside is asked for names


def _network() -> dict[str, Any]:
    """A link of its own for each Pod, so that all traffic between Pods passes the firewall."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": POD_CIDR}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni-addresses",
    }
    return {
        "cniVersion": "0.4.0",
        "name": "limr",
        "plugins": [
            {"type": "ptp", "ipMasq": True, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _containerd(layout: Layout) -> str:
    # restrict_oom_score_adj: in a container or a small VM root may not lower it, and every Pod would die of that.
    return f"""
version = 2
root = "{layout.images}"
state = "/run/containerd"
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.state}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE_IMAGE.tag}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PROGRAMS}"
  conf_dir = "{layout.state}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def _kubelet(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": str(layout.state / "resolv.conf"),
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(layout.pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet.key"),
        "podLogsDir": str(layout.logs / "pods"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        # Disks of test machines look full to it: it would evict Pods and delete images, the pause image first.
        # What is not named here never evicts.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _kube_proxy(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": CLUSTER_CIDR,
        "clientConnection": {"kubeconfig": str(layout.user("kube-proxy"))},
        "conntrack": {"maxPerCore": 0, "min": 0},  # these limits are the machine's, not the namespace's
    }
