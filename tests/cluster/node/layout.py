"""Where the node's files are and which addresses it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from servers.go_program import cache_folder

NAMESPACE = "limr-node"  # of the network; also the name of the link to it
NODE_NAME = "limr-node"
HOST_ADDRESS = "10.84.0.1"
NODE_ADDRESS = "10.84.0.2"
LINK_PREFIX = 24
CLUSTER_CIDR = "10.85.0.0/16"
POD_CIDR = "10.85.0.0/24"  # what the controller manager gives to the first node
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443


@dataclass(frozen=True)
class Layout:
    """`images` outlives the node, as a disk does: loading the trainer's image takes minutes."""

    root: Path

    @classmethod
    def of_this_machine(cls) -> Layout:
        return cls(cache_folder() / "cluster")

    @property
    def state(self) -> Path:
        """Everything that `down` deletes."""
        return self.root / "state"

    @property
    def images(self) -> Path:
        return self.root / "containerd"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def objects(self) -> Path:
        """What the S3 server stores."""
        return self.state / "s3"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def services(self) -> Path:
        """What the supervisor runs."""
        return self.state / "services.json"

    @property
    def pid_file(self) -> Path:
        return self.state / "node.pid"

    @property
    def kernel_settings(self) -> Path:
        """What the machine's were before the kubelet changed them."""
        return self.state / "kernel-settings.json"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def user(self, name: str) -> Path:
        return self.state / f"{name}.kubeconfig"
