"""The light level: a real API server with nothing behind it, in a few seconds."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster import commands
from cluster.authority import Authority, KeyPair
from cluster.commands import Command, Endpoint
from cluster.daemons import Daemon, answers, free_ports, wait_for_server
from cluster.kubeconfig import write_kubeconfig
from cluster.kubectl import Kubectl

START_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
# The controllers that the tests of operators see: the rest would act on Pods and nodes, of which there are none.
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "resourcequota-controller",
)


class ControlPlane:
    """etcd and kube-apiserver on free ports of 127.0.0.1, with RBAC, while it is a context.

    Without `controllers` what is owned outlives its owner, namespaces stay Terminating, Pods need no ServiceAccount.
    `crds` are installed before the controllers start: these look for new kinds of owners only every 30 s.
    """

    def __init__(self, folder: Path, controllers: bool = False, crds: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"
        self.kubectl = Kubectl(self.kubeconfig)
        storage, peers, api, manager = (Endpoint(LOOPBACK, port) for port in free_ports(4))
        self.server = api.https
        self._storage, self._peers, self._api, self._manager = storage, peers, api, manager
        self._controllers = controllers
        self._crds = crds
        self._authority: Authority
        self._daemons: dict[str, Daemon] = {}
        self._stack = ExitStack()

    def kubeconfig_for(self, user: str, *groups: str) -> Path:
        """A file for a user whom RBAC knows by this name and these groups."""
        pair = self._authority.issue(user, groups, file=_file_name(user))
        return write_kubeconfig(self._file(user), self.server, self._authority.files.certificate, pair)

    def kubeconfig_of(self, service_account: str, namespace: str = "default") -> Path:
        """A file with a token of an existing ServiceAccount."""
        token = self.kubectl("create", "token", service_account, "-n", namespace, "--duration", "24h").strip()
        path = self._file(f"{namespace}-{service_account}")
        return write_kubeconfig(path, self.server, self._authority.files.certificate, token)

    def pid_of(self, program: str) -> int:
        """Of etcd, kube-apiserver or kube-controller-manager, for tests that pause one."""
        return self._daemons[program].pid

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._authority = Authority.create(self.folder / "pki")
            serving = self._authority.issue("kube-apiserver", addresses=(LOOPBACK, "localhost"))
            accounts = self._authority.issue("service-accounts")
            admin = self._authority.issue("admin", ["system:masters"])
            write_kubeconfig(self.kubeconfig, self.server, self._authority.files.certificate, admin)
            self._start_api_server(stack, serving, accounts)
            if self._crds:
                self.kubectl.install_crds(self._crds)
            if self._controllers:
                self._start_controllers(stack, accounts)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _start_api_server(self, stack: ExitStack, serving: KeyPair, accounts: KeyPair) -> None:
        etcd = commands.etcd(self.folder / "etcd", self._storage, self._peers)
        self._start(stack, "etcd", etcd)
        extra: Command = [] if self._controllers else ["--disable-admission-plugins", "ServiceAccount"]
        api = commands.api_server(self._api, self._storage, self._authority.files, serving, accounts, extra)
        # /readyz does not tell whether the first namespaces exist.
        self._start(stack, "kube-apiserver", api, f"{self.server}/readyz", f"{self.server}/api/v1/namespaces/default")

    def _start_controllers(self, stack: ExitStack, accounts: KeyPair) -> None:
        extra: Command = [
            *("--bind-address", self._manager.address, "--secure-port", str(self._manager.port)),
            f"--controllers={','.join(CONTROLLERS)}",
        ]
        command = commands.controller_manager(self.kubeconfig, self._authority.files, accounts, extra)
        self._start(stack, "kube-controller-manager", command, f"{self._manager.https}/healthz")

    def _start(self, stack: ExitStack, name: str, command: Command, *urls: str) -> None:
        daemon = stack.enter_context(Daemon(name, command, self.folder / f"{name}.log"))
        self._daemons[name] = daemon
        wait_for_server(daemon, lambda: all(map(self._answers, urls)), START_SECONDS)

    def _answers(self, url: str) -> bool:
        """Whether it answers our administrator with success. The controller manager signs its certificate itself."""
        context = ssl.create_default_context(cafile=str(self._authority.files.certificate))
        if not url.startswith(self.server):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self._authority.folder / "admin.crt", self._authority.folder / "admin.key")
        return answers(url, context)

    def _file(self, user: str) -> Path:
        return self.folder / f"{_file_name(user)}.kubeconfig"


def _file_name(user: str) -> str:
    return user.replace(":", "-").replace("/", "-")
