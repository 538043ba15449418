from __future__ import annotations

import pytest
from hypothesis import settings

# How long an example takes says what else the machine does.
settings.register_profile("limr", deadline=None)
settings.load_profile("limr")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=4, help="processes that the chaos test kills in all")
