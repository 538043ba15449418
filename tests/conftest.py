from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says what else the machine does.
settings.register_profile("limr", deadline=None)
settings.load_profile("limr")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=4, help="processes that the chaos test kills in all")


# `make test` has two processes: one begins with all tests that start engines or learners, the other runs the rest, file
# by file. Two engines that load at once would wait for each other longer than their deadlines.
ENGINES = "integration/engines/"


class OneForEngines(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return ENGINES if ENGINES in nodeid else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneForEngines:
    return OneForEngines(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ENGINES not in item.nodeid)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small file system takes more rights than this user has")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
