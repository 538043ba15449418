"""Opens a store by its URI, reads and writes single files. Nothing heavy is imported for a local folder."""

from __future__ import annotations

from pathlib import Path

from limr.errors import LimrError
from limr.stage import Output
from limr.store.base import NotFound, Store
from limr.store.digest import of_bytes
from limr.store.local import LocalStore


def open_store(uri: str, endpoint: str | None = None) -> Store:
    """The store at a local folder or at s3://bucket/prefix; `endpoint` is the URL of an S3-compatible server.

    Nothing is contacted yet. Raises LimrError when the URI or the endpoint cannot be one.
    """
    if uri.startswith("s3://"):
        from limr.store.s3 import S3Store

        return S3Store(uri, endpoint)
    scheme, separator, _ = uri.partition("://")
    if separator:
        raise LimrError(f"{uri}: {scheme}:// is not supported; write a folder or s3://bucket/prefix")
    return LocalStore(Path(uri))


def read_uri(uri: str, endpoint: str | None = None) -> bytes:
    """The bytes of one file, by its local path or as s3://bucket/key. Raises LimrError, naming the file."""
    folder, _, name = uri.rpartition("/")
    if uri.startswith("s3://"):
        if folder.count("/") < 2 or not name:
            raise LimrError(f"{uri}: this names no file; write s3://bucket/key")
    else:
        local = Path(uri).expanduser()
        folder, name = str(local.parent), local.name
    try:
        return open_store(folder, endpoint).get(name)
    except NotFound:
        raise LimrError(f"{uri}: there is no such file; correct the path") from None


def put_output(store: Store, path: str, data: bytes) -> Output:
    """Writes one file of a stage, and names it with its digest for the stages that need it."""
    store.put(path, data)
    return Output(uri=f"{store.uri}/{path}", digest=of_bytes(data))
