"""The node's first process: `python supervisor.py STATE`, in network, mount and process namespaces of its own.

It starts the services of STATE/services.json, starts them again when they end, and reaps what they leave. When it is
killed the kernel ends everything in its namespaces, and their mounts, links and firewall rules are gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

RESTART_SECONDS = 1.0
# Where the services would write on the machine, whatever their settings say.
PRIVATE_FOLDERS = ("/run", "/var/lib/cni", "/var/log/containers")


def main(state: Path) -> None:
    services: dict[str, list[str]] = json.loads((state / "services.json").read_text())
    for folder in PRIVATE_FOLDERS:
        Path(folder).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    running = {_start(name, command, state): name for name, command in services.items()}
    while True:
        pid, status = os.wait()
        name = running.pop(pid, None)
        if name is None:
            continue  # an orphan of a service's
        _log(state, name, f"ended with status {os.waitstatus_to_exitcode(status)}; starts again")
        time.sleep(RESTART_SECONDS)
        running[_start(name, services[name], state)] = name


def _start(name: str, command: list[str], state: Path) -> int:
    log = os.open(state / "logs" / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        redirections = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        return os.posix_spawn(command[0], command, os.environ, file_actions=redirections, setsid=True)
    finally:
        os.close(log)


def _log(state: Path, name: str, text: str) -> None:
    line = f"{time.strftime('%H:%M:%S')} {name} {text}\n"
    with (state / "logs" / "supervisor.log").open("a") as log:
        log.write(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
