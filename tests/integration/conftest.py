"""Servers that integration tests share. All traffic stays on 127.0.0.1."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pytest
from cluster.control_plane import ControlPlane
from operator_lab import Lab, control_plane
from runs import Run
from servers.flaky_proxy import FlakyProxy
from servers.s3_server import FlakyS3, S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server. From here on the environment has its credentials, for child processes too."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            environment.delenv(name, raising=False)
        for name, value in server.environment.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real API server with our CRD and KubeRay's, and with garbage collection."""
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture
def lab(plane: ControlPlane) -> Lab:
    return Lab(plane, f"test-{secrets.token_hex(4)}")


@pytest.fixture
def s3_uri(s3_server: S3Server) -> str:
    """s3://<fresh bucket>, on the server at `s3_server.endpoint`."""
    return s3_server.new_bucket()


@pytest.fixture
def flaky_s3(s3_server: S3Server, s3_uri: str) -> Iterator[FlakyS3]:
    """A real S3 server that fails in every nasty way, one request in ten."""
    with FlakyProxy(s3_server.port, rate=0.1) as proxy:
        yield FlakyS3(s3_uri, proxy.endpoint, s3_server.endpoint, proxy)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, float]:
    """A small experiment that nobody disturbed, and how many seconds it took."""
    run = Run(tmp_path_factory.mktemp("undisturbed") / "run")
    started = time.monotonic()
    run.finish(run.start())
    return run, time.monotonic() - started
