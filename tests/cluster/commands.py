"""The command lines of the control plane's programs, for both levels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster.authority import KeyPair
from cluster.kubernetes_module import kubernetes_program
from cluster.packages import program

Command = list[str | Path]

SERVICE_CIDR = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"  # the first address of it
ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Endpoint:
    address: str
    port: int

    @property
    def https(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def http(self) -> str:
        return f"http://{self.address}:{self.port}"


def etcd(folder: Path, clients: Endpoint, peers: Endpoint) -> Command:
    """Tests lose nothing with their machine, so nothing waits for the disk."""
    return [
        *(program("etcd"), "--unsafe-no-fsync", "--data-dir", folder, "--log-level", "warn"),
        *("--listen-client-urls", clients.http, "--advertise-client-urls", clients.http),
        *("--listen-peer-urls", peers.http, "--initial-advertise-peer-urls", peers.http),
        *("--initial-cluster", f"default={peers.http}"),
    ]


def api_server(
    at: Endpoint, storage: Endpoint, authority: KeyPair, serving: KeyPair, accounts: KeyPair, extra: Command
) -> Command:
    """`accounts` signs the tokens of service accounts."""
    return [
        *(kubernetes_program("kube-apiserver"), "--etcd-servers", storage.http),
        *("--bind-address", at.address, "--advertise-address", at.address, "--secure-port", str(at.port)),
        *("--client-ca-file", authority.certificate),
        *("--tls-cert-file", serving.certificate, "--tls-private-key-file", serving.key),
        *("--service-account-issuer", ISSUER, "--service-account-key-file", accounts.certificate),
        *("--service-account-signing-key-file", accounts.key),
        *("--authorization-mode", "Node,RBAC", "--service-cluster-ip-range", SERVICE_CIDR),
        "--allow-privileged",
        *extra,
    ]


def controller_manager(kubeconfig: Path, authority: KeyPair, accounts: KeyPair, extra: Command) -> Command:
    return [
        *(kubernetes_program("kube-controller-manager"), "--kubeconfig", kubeconfig),
        *("--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig),
        *("--root-ca-file", authority.certificate, "--service-account-private-key-file", accounts.key),
        *("--use-service-account-credentials", "--leader-elect=false"),
        *extra,
    ]
