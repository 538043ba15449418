"""What is read of `kubectl port-forward`. Only a node can forward a port (tests/e2e): a script says kubectl's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from limr.kubectl import port_forward
from limr.kubectl.access import Cluster
from limr.kubectl.errors import Forbidden, Unreachable
from limr.kubectl.port_forward import Service, forwarded

SERVICE = Service("storage", "minio", 9000)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "kubectl"


def says(kubectl: Path, script: str) -> None:
    kubectl.write_text(f"#!/bin/sh\n{script}\n")
    kubectl.chmod(0o755)


def test_the_port_is_open_while_it_is_used(kubectl: Path) -> None:
    words = "Forwarding from 127.0.0.1:43211 -> 9000"
    says(kubectl, f'echo "$@" > {kubectl}.called; echo $$ > {kubectl}.pid; echo "{words}"; exec sleep 60')
    with forwarded(Cluster("rl", context="prod"), SERVICE) as url:
        assert url == "http://127.0.0.1:43211"
        process = Path("/proc") / Path(f"{kubectl}.pid").read_text().strip()
        assert process.exists()
    assert not process.exists()
    called = Path(f"{kubectl}.called").read_text().split()
    assert called[:3] == ["port-forward", "service/minio", ":9000"]
    assert {"--namespace=storage", "--context=prod", "--address=127.0.0.1"} <= set(called)


def test_a_refusal_is_told(kubectl: Path) -> None:
    words = 'User "eve" cannot get resource "services" in API group "" in the namespace "storage"'
    says(kubectl, f"echo 'Error from server (Forbidden): services is forbidden: {words}' >&2; exit 1")
    told = "no port can be forwarded to service minio in namespace storage, where the store is: you .eve. may not get"
    with pytest.raises(Forbidden, match=told), forwarded(Cluster(), SERVICE):
        pass


def test_silence_has_an_end(kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "READY_SECONDS", 0.2)
    says(kubectl, "exec sleep 60")
    with pytest.raises(Unreachable, match="within 0 s; has it a Pod that is ready"), forwarded(Cluster(), SERVICE):
        pass
