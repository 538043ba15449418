"""A port of this machine that leads to a Service, by `kubectl port-forward`."""

from __future__ import annotations

import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO

from limr.kubectl.access import Cluster, no_kubectl
from limr.kubectl.errors import Unreachable, explained

READY_SECONDS = 30.0
END_SECONDS = 5.0
_READY = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ")


@dataclass(frozen=True)
class Service:
    namespace: str
    name: str
    port: int


@contextmanager
def forwarded(cluster: Cluster, service: Service) -> Iterator[str]:
    """The URL at which the Service answers plain HTTP, while this holds. Raises KubectlError when none can be had."""
    there = replace(cluster, namespace=service.namespace)
    command = there.command("port-forward", f"service/{service.name}", f":{service.port}", "--address=127.0.0.1")
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise no_kubectl() from None
    try:
        yield f"http://127.0.0.1:{_port(process, service)}"
    finally:
        process.terminate()
        try:
            process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _port(process: subprocess.Popen[bytes], service: Service) -> int:
    assert process.stdout is not None
    assert process.stderr is not None
    said = _output_until(_READY, process.stdout, time.monotonic() + READY_SECONDS)
    if found := _READY.search(said):
        return int(found[1])
    process.terminate()
    words = process.stderr.read().decode(errors="replace")
    where = f"service {service.name} in namespace {service.namespace}, where the store is"
    if not words.strip():
        raise Unreachable(
            f"no port was forwarded to {where}, within {READY_SECONDS:.0f} s; has it a Pod that is ready?"
        )
    error = explained(words)
    raise type(error)(f"no port can be forwarded to {where}: {error}")


def _output_until(pattern: re.Pattern[bytes], stream: IO[bytes], deadline: float) -> bytes:
    """What it has printed when `pattern` is in it, or when it has ended, or at the deadline."""
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not pattern.search(said) and selector.select(max(0.0, deadline - time.monotonic())):
            part = stream.read1(4096)  # type: ignore[attr-defined]  # a pipe of subprocess is a BufferedReader
            if not part:
                break
            said += part
    return said
