"""What kubectl says as sentences, Services in endpoints, times on the command line."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from limr.errors import LimrError
from limr.kubectl.access import translated
from limr.kubectl.artifacts import service_of
from limr.kubectl.errors import Forbidden, KubectlError, NoSuchObject, Unreachable, explained
from limr.kubectl.options import waiting_options
from limr.kubectl.port_forward import Service
from limr.log_lines import timed

FORBIDDEN = (
    'Error from server (Forbidden): secrets "rl-s3" is forbidden: User "eve" cannot get resource "secrets" in API '
    'group "" in the namespace "rl"'
)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ('Error from server (NotFound): pods "x" not found', NoSuchObject, 'pods "x" not found'),
        (FORBIDDEN, Forbidden, "you (eve) may not get secrets in namespace rl; ask for a role that allows it"),
        (
            'error: the server doesn\'t have a resource type "limrexperiments"',
            KubectlError,
            "this cluster has no LIMRExperiments; choose another one by --context, or install limr there",
        ),
        (
            "E1 memcache.go:265] …\nThe connection to the server 10.0.0.1:6443 was refused - did you specify the right "
            "host or port?",
            Unreachable,
            "the cluster does not answer (The connection to the server 10.0.0.1:6443 was refused",
        ),
        (
            "Unable to connect to the server: dial tcp: lookup k8s.example: no such host",
            Unreachable,
            "the cluster does not answer (Unable to connect to the server: dial tcp: lookup k8s.example: no such host)",
        ),
        (
            "error: You must be logged in to the server (Unauthorized)",
            KubectlError,
            "the cluster does not know you (Unauthorized): log in",
        ),
        ('error: context "x" does not exist', KubectlError, 'kubectl: context "x" does not exist'),
        ("", KubectlError, "kubectl failed without a word"),
    ],
)
def test_refusals(said: str, kind: type[KubectlError], words: str) -> None:
    error = explained(said)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize(
    ("endpoint", "service"),
    [
        ("http://s3.s3.svc.cluster.local", Service("s3", "s3", 80)),
        ("http://minio.storage.svc:9000", Service("storage", "minio", 9000)),
        ("https://s3.example.org:9000", None),
        ("http://svc.example.org", None),
        ("http://127.0.0.1:9000", None),
    ],
)
def test_services_inside_the_cluster(endpoint: str, service: Service | None) -> None:
    assert service_of(endpoint) == service


def test_https_inside_the_cluster_cannot_be_forwarded() -> None:
    with pytest.raises(LimrError, match="its certificate is not one for a forwarded port"):
        service_of("https://minio.storage.svc:9000")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1h30m", 5400), ("0s", 0), ("", None), ("10", None), ("x", None)]
)
def test_times(text: str, seconds: float | None) -> None:
    @click.command()
    @waiting_options
    def command(waits: bool, timeout: float) -> None:
        click.echo(timeout)

    done = CliRunner().invoke(command, ["--timeout", text])
    if seconds is None:
        assert done.exit_code == 2
        assert "is no time; write for example 30s, 10m or 1h30m" in done.output
    else:
        assert float(done.output) == seconds


def test_lines_are_translated_as_they_come(capfd: pytest.CaptureFixture[str]) -> None:
    record = '{"time": "2026-01-02T03:04:05Z", "level": "INFO", "logger": "limr.train", "message": "step 3"}'
    says = f"import os, sys; print({record!r}); print('Ray runtime started.'); sys.exit(3)"
    assert translated([sys.executable, "-c", says], timed) == 3
    assert capfd.readouterr().out == "2026-01-02 03:04:05 INFO step 3\nRay runtime started.\n"


def test_without_kubectl_a_sentence_says_so() -> None:
    with pytest.raises(LimrError, match="kubectl is not installed"):
        translated(["no-such-kubectl"], timed)
