"""Programs that come as Debian packages, installed when they are missing."""

from __future__ import annotations

import os
import shutil

from command import output_of

INSTALL_SECONDS = 600.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CONTROL_PLANE = {"etcd": "etcd-server"}
IMAGES = {"buildah": "buildah", "skopeo": "skopeo", "mmdebstrap": "mmdebstrap"}
MONITORING = {"prometheus": "prometheus", "promtool": "prometheus"}
NODE = {
    **CONTROL_PLANE,
    **IMAGES,
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "conntrack": "conntrack",
    "iptables": "iptables",
    "ip": "iproute2",
    "mount": "mount",
}
# What tests on the node look at things with.
LOOKS = {**MONITORING, "tmux": "tmux", "chromium": "chromium"}


def program(name: str) -> str:
    """The installed program's path."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if found is None:
        raise RuntimeError(f"the program `{name}` is not installed")
    return found


def install_missing(programs: dict[str, str]) -> None:
    """Takes program -> Debian package. Raises RuntimeError with what to install when this cannot be done here."""
    missing = _missing(programs)
    if not missing:
        return
    command = f"apt-get install {' '.join(missing)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"the test cluster needs Debian packages; run, as root: {command}")
    _apt_get("update", "-qq")
    _apt_get("install", "-y", "-qq", "--no-install-recommends", *missing)
    if still := _missing(programs):
        raise RuntimeError(f"`{command}` did not bring what the test cluster needs: {', '.join(still)}")


def _missing(programs: dict[str, str]) -> list[str]:
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    return sorted({package for name, package in programs.items() if shutil.which(name, path=path) is None})


def _apt_get(*arguments: str) -> None:
    # RUNLEVEL=1 keeps the packages' scripts from starting services of the machine.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    output_of(["apt-get", *arguments], seconds=INSTALL_SECONDS, env=environment)
