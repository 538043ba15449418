"""A real S3 server (Versity's gateway over a folder), built from its Go module once and kept in a cache."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import boto3
from botocore.config import Config

from servers.flaky_proxy import FlakyProxy
from servers.go_program import GoProgram

# Its conditional writes are atomic; those of releases before were not all.
SERVER = GoProgram("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
START_SECONDS = 60.0


@dataclass(frozen=True)
class FlakyS3:
    """A fresh bucket behind a proxy that breaks a tenth of the requests; `direct_endpoint` goes around it."""

    uri: str
    endpoint: str
    direct_endpoint: str
    proxy: FlakyProxy


def server_binary() -> Path:
    """The server's program. Raises RuntimeError when it is neither in the cache nor can be built."""
    return SERVER.binary()


class S3Server:
    """The server on a free port of 127.0.0.1, its objects below `folder`, while it is a context."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.credentials = {"AWS_ACCESS_KEY_ID": "limr-tests", "AWS_SECRET_ACCESS_KEY": uuid.uuid4().hex}
        self._folder = folder
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For this process and its children: these credentials and no others of this machine."""
        nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return {**self.credentials, **nothing, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}

    def new_bucket(self) -> str:
        """The URI of a fresh bucket."""
        name = f"limr-{uuid.uuid4().hex[:12]}"
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.credentials["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def new_account(self) -> dict[str, str]:
        """Credentials, as environment variables, of a fresh account that may use no bucket of ours."""
        access, secret = f"guest-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
        own = [
            *("--access", self.credentials["AWS_ACCESS_KEY_ID"]),
            *("--secret", self.credentials["AWS_SECRET_ACCESS_KEY"]),
        ]
        subprocess.run(
            [
                *(server_binary(), "admin", *own, "--endpoint-url", self.endpoint),
                *("create-user", "--access", access, "--secret", secret, "--role", "user"),
            ],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
        return {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}

    def __enter__(self) -> Self:
        objects = self._folder / "objects"
        accounts = self._folder / "accounts"
        objects.mkdir()
        accounts.mkdir()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(server_binary(), "--port", f"127.0.0.1:{self.port}", "--iam-dir", accounts),
                    *("--quiet", "--keep-alive", "posix", objects),
                ],
                env={
                    **os.environ,
                    "ROOT_ACCESS_KEY_ID": self.credentials["AWS_ACCESS_KEY_ID"],
                    "ROOT_SECRET_ACCESS_KEY": self.credentials["AWS_SECRET_ACCESS_KEY"],
                },
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_listens(self._process)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        process.kill()
        raise RuntimeError(f"the S3 server did not start:\n{self._log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":  # builds ahead of the tests, whose own time is limited
    print(server_binary())
