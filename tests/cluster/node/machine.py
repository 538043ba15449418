"""The namespaces that the node lives in, and what of it the machine sees: one link and two routes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from command import output_of

from cluster.commands import SERVICE_CIDR
from cluster.daemons import wait_until
from cluster.node import supervisor
from cluster.node.layout import CLUSTER_CIDR, HOST_ADDRESS, LINK_PREFIX, NAMESPACE, NODE_ADDRESS, Layout
from cluster.packages import SYSTEM_PATH, program

END_SECONDS = 30.0
CONTROL_GROUPS = Path("/sys/fs/cgroup")
KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
NETWORK_NAMESPACE = Path("/run/netns") / NAMESPACE


def node_pid(layout: Layout) -> int | None:
    """Of the process that the node lives and dies with, while it lives."""
    try:
        pid, started = layout.pid_file.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if _started_at(int(pid)) == started else None


def start_node(layout: Layout) -> None:
    """Runs the services of `layout.services`."""
    _remember_kernel_settings(layout)
    _make_network()
    with layout.log("supervisor").open("ab") as log:
        process = subprocess.Popen(
            [
                *(program("nsenter"), f"--net={NETWORK_NAMESPACE}", program("unshare"), "--mount", "--pid", "--fork"),
                *("--mount-proc", "--kill-child=KILL", sys.executable, "-I", supervisor.__file__, str(layout.state)),
            ],
            cwd="/",
            env={"PATH": SYSTEM_PATH, "HOME": str(layout.state)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    layout.pid_file.write_text(f"{process.pid} {_started_at(process.pid)}")


def stop_node(layout: Layout) -> None:
    """Undoes `start_node`, also a half-finished one. Doing so twice is fine."""
    if pid := node_pid(layout):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _alive(pid), "the end of the node's processes", END_SECONDS)
    if Path(f"/sys/class/net/{NAMESPACE}").exists():
        _ip("link", "delete", NAMESPACE)
    if NETWORK_NAMESPACE.exists():
        _ip("netns", "delete", NAMESPACE)
    wait_until(_control_groups_are_gone, "the end of the Pods' control groups", END_SECONDS)
    _restore_kernel_settings(layout)


def _started_at(pid: int) -> str | None:
    """In clock ticks since the machine's start: with it, a number tells a process from a later one. None: it ended."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *others = fields.split()
    return others[18] if state not in "ZX" else None  # proc(5): field 22


def _alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)  # when we started it ourselves
    except ChildProcessError:
        return Path(f"/proc/{pid}").exists()


def _make_network() -> None:
    _ip("netns", "add", NAMESPACE)
    _ip("link", "add", NAMESPACE, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    _ip("address", "add", f"{HOST_ADDRESS}/{LINK_PREFIX}", "dev", NAMESPACE)
    _ip("link", "set", NAMESPACE, "up")
    _ip("-n", NAMESPACE, "link", "set", "lo", "up")
    _ip("-n", NAMESPACE, "address", "add", f"{NODE_ADDRESS}/{LINK_PREFIX}", "dev", "eth0")
    _ip("-n", NAMESPACE, "link", "set", "eth0", "up")
    _ip("-n", NAMESPACE, "route", "add", "default", "via", HOST_ADDRESS)
    for addresses in (CLUSTER_CIDR, SERVICE_CIDR):
        _ip("route", "add", addresses, "via", NODE_ADDRESS)


def _ip(*arguments: str) -> None:
    output_of([program("ip"), *arguments], seconds=30)


def _control_groups_are_gone() -> bool:
    """Removes the kubelet's, under every hierarchy. Those whose processes the kernel is still ending are busy."""
    for top in (*CONTROL_GROUPS.glob("kubepods"), *CONTROL_GROUPS.glob("*/kubepods")):
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                return False
    return True


def _remember_kernel_settings(layout: Layout) -> None:
    """The kubelet changes these for the whole machine."""
    values = {name: Path("/proc/sys", name).read_text() for name in KERNEL_SETTINGS}
    layout.kernel_settings.write_text(json.dumps(values))


def _restore_kernel_settings(layout: Layout) -> None:
    if not layout.kernel_settings.exists():
        return
    for name, value in json.loads(layout.kernel_settings.read_text()).items():
        if Path("/proc/sys", name).read_text() != value:
            Path("/proc/sys", name).write_text(value)
