"""Makes the S3 client and repeats its requests until they are answered or patience ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from limr.errors import LimrError
from limr.store.s3_errors import FAILURES, explain, is_transient

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# How long after a request's first failure new tries are begun. A server that has never answered is more likely a wrong
# endpoint, which a person wants to know soon, than an outage, which a long training should outlive.
PATIENCE_SECONDS = 300.0
FIRST_PATIENCE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 10.0
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
TRIES = 4  # by botocore, within a second or two, before our own patience begins
CONNECTIONS = 16

T = TypeVar("T")


class Requests:
    """One S3 client and how long to wait for it. `uri` is only for messages."""

    def __init__(self, uri: str, endpoint: str | None) -> None:
        self.client = _client(uri, _checked(endpoint))
        self._server = self.client.meta.endpoint_url
        self._answered = False

    def until_answered(self, request: Callable[[], T], where: str) -> T:
        """What `request` returns. Raises StoreError about `where` when it is refused or patience has ended."""
        deadline = None
        pause = 0.2
        while True:
            try:
                answer = request()
            except FAILURES as error:
                now = time.monotonic()
                if deadline is None:
                    deadline = now + (PATIENCE_SECONDS if self._answered else FIRST_PATIENCE_SECONDS)
                if not is_transient(error) or now > deadline:
                    raise explain(error, where, self._server) from error
            else:
                self._answered = True
                return answer
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _checked(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LimrError("storage.endpoint is no URL of a server; write for example https://s3.example.org:9000")
    if parts.username or parts.password:
        raise LimrError(
            "storage.endpoint holds a user name or password; remove it, credentials come from AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY"
        )
    return endpoint


def _client(uri: str, endpoint: str | None) -> S3Client:
    settings: dict[str, Any] = {}
    if endpoint:
        # Other servers rarely have one DNS name per bucket, and many do not know AWS's newer checksum trailers.
        settings = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        max_pool_connections=CONNECTIONS,
        **settings,
    )
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise explain(error, uri, endpoint or "AWS S3") from error
