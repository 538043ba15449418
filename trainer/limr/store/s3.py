"""A store in S3, or on any server that speaks its protocol with conditional writes (If-Match, If-None-Match).

Every request is repeated until it is answered or a deadline has passed. A write whose answer was lost may have been
carried out: when its repetition is refused for that, the object is read back, and our own bytes there mean success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig, create_transfer_manager

from limr.errors import LimrError
from limr.store import disk
from limr.store.base import Conflict, Entry, NotFound
from limr.store.s3_errors import FAILURES, is_conflict, is_transient, was_retried
from limr.store.s3_requests import CONNECTIONS, Requests

if TYPE_CHECKING:
    from s3transfer.futures import TransferFuture
    from s3transfer.manager import TransferManager


class S3Store:
    """`limr.store.base.Store` on s3://bucket/prefix. Version tokens are ETags.

    Credentials, region and proxies come from where every AWS tool takes them (environment, profile, role).
    """

    def __init__(self, uri: str, endpoint: str | None = None) -> None:
        self.uri = uri.rstrip("/")
        self._bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        if not self._bucket:
            raise LimrError(f"{uri}: there is no bucket in it; write s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""
        self._requests = Requests(uri, endpoint)
        self._client = self._requests.client

    def get(self, path: str) -> bytes:
        return self.get_versioned(path)[0]

    def get_versioned(self, path: str) -> tuple[bytes, str]:
        def request() -> tuple[bytes, str]:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
            return answer["Body"].read(), answer["ETag"]

        return self._requests.until_answered(request, self._where(path))

    def put(self, path: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        if if_match is not None:
            condition["IfMatch"] = if_match
        in_doubt = False  # an earlier try may have been carried out

        def request() -> str:
            nonlocal in_doubt
            try:
                return self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=data, **condition)["ETag"]
            except FAILURES as error:
                in_doubt = in_doubt or was_retried(error)
                if is_conflict(error) and in_doubt and (version := self._version_of(path, data)):
                    return version
                in_doubt = True
                raise

        try:
            return self._requests.until_answered(request, self._where(path))
        except NotFound:  # the answer to If-Match when there is nothing
            raise Conflict(f"{self._where(path)}: is not there any more; another process removed it") from None

    def list(self, prefix: str = "") -> Iterator[Entry]:
        position: dict[str, Any] = {}
        while True:
            page = self._page(prefix, position)
            for item in page.get("Contents", []):
                yield Entry(item["Key"].removeprefix(self._prefix), item["Size"])
            if not page["IsTruncated"]:
                return
            position = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, path: str) -> None:
        self._requests.until_answered(
            lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(path)), self._where(path)
        )

    def upload(self, source: Path, path: str, *, move: bool = False) -> None:
        if not source.exists():
            raise FileNotFoundError(source)
        if source.is_dir():
            files = {f"{path}/{file.relative_to(source).as_posix()}": file for file in _files(source)}
        else:
            files = {path: source}
        stale = [entry.path for entry in self.list(f"{path}/") if entry.path not in files]
        self._transfer(
            files, lambda manager, name, file: manager.upload(str(file), self._bucket, self._key(name)), path
        )
        for name in stale:
            self.delete(name)
        if move:
            disk.remove(source)

    def download(self, path: str, target: Path) -> None:
        files = {entry.path: target / entry.path[len(path) + 1 :] for entry in self.list(f"{path}/")}
        files = files or {path: target}
        with disk.explained(target):
            for file in files.values():
                file.parent.mkdir(parents=True, exist_ok=True)
            self._transfer(
                files, lambda manager, name, file: manager.download(self._bucket, self._key(name), str(file)), path
            )

    def local_path(self, path: str) -> Path | None:
        return None

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _where(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def _version_of(self, path: str, data: bytes) -> str | None:
        """The version of what is at `path` if that is `data`."""
        try:
            current, version = self.get_versioned(path)
        except NotFound:
            return None
        return version if current == data else None

    def _page(self, prefix: str, position: dict[str, Any]) -> Any:
        return self._requests.until_answered(
            lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._key(prefix), **position),
            self._where(prefix),
        )

    def _transfer(
        self, files: dict[str, Path], start: Callable[[TransferManager, str, Path], TransferFuture], path: str
    ) -> None:
        """Moves all files at once, large ones in parts; what fails on the way is begun again."""
        remaining = dict(files)

        def request() -> None:
            failure = None
            with create_transfer_manager(self._client, _TRANSFERS) as manager:
                futures = {name: start(manager, name, file) for name, file in remaining.items()}
                for name, future in futures.items():
                    try:
                        future.result()
                        del remaining[name]
                    except FAILURES as error:
                        if not is_transient(error):
                            raise
                        failure = error
            if failure:
                raise failure

        self._requests.until_answered(request, self._where(path))


_TRANSFERS = TransferConfig(max_concurrency=CONNECTIONS // 2, preferred_transfer_client="classic")


def _files(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            yield from _files(child)
        else:
            yield child
