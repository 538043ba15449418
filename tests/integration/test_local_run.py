"""`limr run` beside a real Ray cluster, and killed at many moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from local_lab import SECONDS, Lab, processes_of

from limr.local.ray_cluster import RayCluster

pytestmark = pytest.mark.integration

JOIN = "import ray; ray.init(); print(ray.get(ray.remote(lambda: 6 * 7).remote()))"


def join(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", JOIN], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def listening_elsewhere(folder: Path) -> list[str]:
    """Command lines of Ray's processes that accept connections from other machines."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            local, state, inode = words[1].rpartition(":")[0], words[3], words[9]
            if state == "0A" and not local.endswith("0100007F"):  # LISTEN, not on 127.0.0.1
                inodes.add(f"socket:[{inode}]")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().replace("\0", " ")
            sockets = {os.readlink(entry) for entry in (process / "fd").iterdir()}
        except OSError:  # it has just ended
            continue
        if str(folder) in command and sockets & inodes:
            found.append(command)
    return found


def test_ray_serves_this_run_alone_and_leaves_nothing(tmp_path: Path) -> None:
    link = tmp_path / "ray"
    cluster = RayCluster(tmp_path / "ray.log", link)
    try:
        environment = dict(cluster.environment())
        assert environment["RAY_ADDRESS"].startswith("127.0.0.1:")
        assert join(environment).stdout == "42\n"
        assert join({**environment, "RAY_AUTH_TOKEN": "0" * 64}).returncode != 0, "another token is refused"
        folder = link.readlink()
        assert processes_of(folder)
        assert listening_elsewhere(folder) == []
        assert dict(cluster.environment()) == environment, "it is started once"

        head = next(int(p.name) for p in Path("/proc").glob("[0-9]*") if _is_head(p, folder))
        os.kill(head, signal.SIGKILL)
        _until(lambda: not cluster.alive)
        again = dict(cluster.environment())
        assert again["RAY_ADDRESS"] != environment["RAY_ADDRESS"]
        assert not folder.exists()
        assert join(again).stdout == "42\n"
        folder = link.readlink()
    finally:
        cluster.stop()
    assert not link.is_symlink()
    assert not folder.exists()
    _until(lambda: not processes_of(folder))


def _is_head(process: Path, folder: Path) -> bool:
    try:
        command = (process / "cmdline").read_bytes().decode()
    except OSError:
        return False
    return "limr.local.ray_head" in command and str(folder) in command


def _until(happened: object) -> None:
    assert callable(happened)
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """Each round kills a little later; every step is done once, by attempts in order."""
    lab = Lab(tmp_path)
    lab.behave(train_lim_s1={"steps": 4, "seconds": 0.05})
    for round_number in range(8):
        process = lab.start()
        time.sleep(0.25 * (round_number + 1))
        process.kill()
        process.wait(SECONDS)
        lab.until(lambda: not processes_of(lab.folder))
    assert lab.run() == 0
    steps, attempts = zip(*(line.split(" attempt ") for line in lab.steps("train-lim-s1")), strict=True)
    assert steps == ("1", "2", "3", "4")
    assert list(attempts) == sorted(attempts, key=int)
