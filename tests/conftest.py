from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says what else the machine does.
settings.register_profile("limr", deadline=None)
settings.load_profile("limr")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=4, help="processes that the chaos test kills in all")


# How `make test` deals tests out to two processes: file by file, but all that start engines or learners to one, which
# begins with them. Two engines that load at once would wait for each other longer than their deadlines.


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.xdist_group("engines" if item.get_closest_marker("engines") else item.path.name))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("engines") is None)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small file system takes more rights than this user has")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
