"""The S3 store keeps a store's promises against a real server, also when a tenth of the requests fail."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.flaky_proxy import Fault
from servers.s3_server import FlakyS3, S3Server
from servers.store_checks import CHECKS

from limr.errors import LimrError
from limr.store import open_store, read_uri, s3_requests
from limr.store.base import Conflict, NotFound, Store, StoreError

pytestmark = pytest.mark.integration

AFTER = [Fault.RESET_AFTER, Fault.TRUNCATED]
NOT_CARRIED_OUT = [Fault.UNAVAILABLE, Fault.RESET_BEFORE]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_the_promises_of_a_store(check: Callable[[Store], None], s3_server: S3Server, s3_uri: str) -> None:
    check(open_store(f"{s3_uri}/some/prefix", s3_server.endpoint))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_them_while_requests_fail(check: Callable[[Store], None], flaky_s3: FlakyS3) -> None:
    check(open_store(f"{flaky_s3.uri}/prefix", flaky_s3.endpoint))


def test_uris_may_be_a_whole_bucket(s3_server: S3Server, s3_uri: str) -> None:
    store = open_store(s3_uri, s3_server.endpoint)
    store.put("a/b", b"x")
    assert [entry.path for entry in store.list()] == ["a/b"]
    assert store.local_path("a/b") is None
    assert read_uri(f"{s3_uri}/a/b", s3_server.endpoint) == b"x"
    with pytest.raises(LimrError, match=f"{s3_uri}/a/c: there is no such file"):
        read_uri(f"{s3_uri}/a/c", s3_server.endpoint)


def test_without_an_endpoint_the_usual_aws_settings_count(
    s3_server: S3Server, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with the checksums that AWS asks for and other servers need not know."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint)
    store = open_store(s3_uri)
    version = store.put("a", b"x", if_absent=True)
    store.put("a", b"y", if_match=version)
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    store.upload(tmp_path / "large", "large")
    store.download("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == bytes(9 << 20)
    with pytest.raises(StoreError, match="there is no such bucket"):
        open_store("s3://no-such-bucket").get("a")


def test_lists_more_than_one_page(s3_server: S3Server, s3_uri: str) -> None:
    store = open_store(s3_uri, s3_server.endpoint)
    names = [f"{number:05d}" for number in range(1005)]  # a page has 1,000
    for name in names:
        store.put(name, b"")
    assert [entry.path for entry in store.list()] == names


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_lost_answer_is_no_conflict(fault: Fault, repeats: int, flaky_s3: FlakyS3) -> None:
    flaky_s3.proxy.rate = 0
    store = open_store(flaky_s3.uri, flaky_s3.endpoint)
    flaky_s3.proxy.fail_next(*[fault] * repeats)
    version = store.put("a", b"1", if_absent=True)
    assert store.get_versioned("a") == (b"1", version)
    flaky_s3.proxy.fail_next(*[fault] * repeats)
    version = store.put("a", b"2", if_match=version)
    assert store.get_versioned("a") == (b"2", version)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_conflict_stays_one_when_requests_fail(fault: Fault, flaky_s3: FlakyS3) -> None:
    flaky_s3.proxy.rate = 0
    store = open_store(flaky_s3.uri, flaky_s3.endpoint)
    version = store.put("a", b"1")
    store.put("a", b"2")
    for condition in ({"if_absent": True}, {"if_match": version}):
        flaky_s3.proxy.fail_next(fault)
        with pytest.raises(Conflict):
            store.put("a", b"3", **condition)
    with pytest.raises(Conflict):
        store.put("a", b"2", if_absent=True)  # nothing was lost, so equal bytes are not ours
    assert store.get("a") == b"2"


@pytest.mark.parametrize("fault", list(Fault))
def test_answers_that_are_errors_survive_faults(fault: Fault, flaky_s3: FlakyS3, tmp_path: Path) -> None:
    flaky_s3.proxy.rate = 0
    store = open_store(flaky_s3.uri, flaky_s3.endpoint)
    store.put("empty", b"")
    for number in range(3):  # requests of one download: the server refuses a range of an empty object
        flaky_s3.proxy.fail_next(*[fault] * number)
        store.download("empty", tmp_path / "empty")
        assert (tmp_path / "empty").read_bytes() == b""
    flaky_s3.proxy.fail_next(fault)
    with pytest.raises(NotFound):
        store.get("nothing")
    flaky_s3.proxy.fail_next(fault)
    with pytest.raises(StoreError, match="there is no such bucket"):
        list(open_store("s3://no-such-bucket", flaky_s3.endpoint).list())


def test_large_files_survive_a_fault_in_every_request(flaky_s3: FlakyS3, tmp_path: Path) -> None:
    """In three parts: each part, the begin and the end of the upload meet a fault, the answer to the end is lost."""
    flaky_s3.proxy.rate = 0
    store = open_store(flaky_s3.uri, flaky_s3.endpoint)
    data = os.urandom(20 << 20)
    (tmp_path / "weights").write_bytes(data)
    flaky_s3.proxy.fail_next(*AFTER, *NOT_CARRIED_OUT, *AFTER, *NOT_CARRIED_OUT)
    store.upload(tmp_path / "weights", "weights")
    flaky_s3.proxy.fail_next(*NOT_CARRIED_OUT, *AFTER, *AFTER, *NOT_CARRIED_OUT)
    store.download("weights", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert flaky_s3.proxy.faults.total() == 16


def test_an_unreachable_endpoint_says_so(s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_requests, "FIRST_PATIENCE_SECONDS", 0.1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StoreError) as caught:
            open_store(s3_uri, endpoint).get("a")
    assert f"{s3_uri}/a: {endpoint} does not serve requests" in str(caught.value)
    assert "check storage.endpoint" in str(caught.value)


def test_patience_ends_when_a_server_that_worked_stays_away(flaky_s3: FlakyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_requests, "PATIENCE_SECONDS", 0.1)
    flaky_s3.proxy.rate = 0
    store = open_store(flaky_s3.uri, flaky_s3.endpoint)
    store.put("a", b"x")
    flaky_s3.proxy.rate = 1
    with pytest.raises(StoreError, match="does not serve requests"):
        store.get("a")


def test_a_missing_bucket_says_so(s3_server: S3Server, tmp_path: Path) -> None:
    store = open_store("s3://no-such-bucket/prefix", s3_server.endpoint)
    (tmp_path / "file").write_bytes(b"x")
    for use in (
        lambda: store.get("a"),
        lambda: store.put("a", b"x"),
        lambda: store.put("a", b"x", if_absent=True),
        lambda: list(store.list()),
        lambda: store.upload(tmp_path / "file", "a"),
        lambda: store.download("a", tmp_path / "back"),
    ):
        with pytest.raises(StoreError, match=r"there is no such bucket; create it or correct storage\.uri") as caught:
            use()
        assert "s3://no-such-bucket/prefix" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong-secret-value"), ("AWS_ACCESS_KEY_ID", "unknown-key")]
)
def test_bad_credentials_say_so_and_stay_secret(
    name: str, value: str, s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="the server refuses the credentials; check AWS_ACCESS_KEY_ID") as caught:
        open_store(s3_uri, s3_server.endpoint).get("a")
    told = "".join(traceback.format_exception(caught.value))
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in told
    assert s3_server.credentials["AWS_SECRET_ACCESS_KEY"] not in told


def test_no_credentials_say_so(s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in s3_server.credentials:
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match="no usable credentials were found; set AWS_ACCESS_KEY_ID"):
        open_store(s3_uri, s3_server.endpoint).get("a")


def test_denied_access_says_so(
    s3_server: S3Server, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.new_account().items():
        monkeypatch.setenv(name, value)
    store = open_store(s3_uri, s3_server.endpoint)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x")
    for use in (lambda: store.get("a"), lambda: store.put("a", b"x"), lambda: store.upload(tmp_path / "folder", "a")):
        with pytest.raises(StoreError, match="access denied; allow these credentials to list the bucket"):
            use()
    assert (tmp_path / "folder" / "file").exists()


def test_unusable_uris_and_endpoints_are_refused_without_a_request() -> None:
    with pytest.raises(LimrError, match="there is no bucket in it"):
        open_store("s3:///prefix")
    with pytest.raises(LimrError, match=r"storage\.endpoint is no URL of a server"):
        open_store("s3://bucket", "localhost:9000")
    with pytest.raises(LimrError, match="user name or password") as caught:
        open_store("s3://bucket", "http://user:hunter2@127.0.0.1:9000")
    assert "hunter2" not in str(caught.value)
