"""An HTTP proxy in front of a real server on this machine that breaks a share of the requests, in every nasty way."""

from __future__ import annotations

import http.client
import os
import random
import socket
import struct
import threading
from collections import Counter, deque
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

TIMEOUT_SECONDS = 60.0
HOP_BY_HOP = {"connection", "keep-alive", "expect", "transfer-encoding", "content-length"}


class Fault(StrEnum):
    UNAVAILABLE = "503 before the server sees the request"
    RESET_BEFORE = "connection reset before the server sees the request"
    RESET_AFTER = "connection reset after the server carried it out"
    TRUNCATED = "answer cut off after the server carried it out"


class FlakyProxy:
    """Serves on 127.0.0.1 while it is a context. The same seed draws the same faults for the same order of requests."""

    def __init__(self, server_port: int, rate: float = 0.1, seed: int = 0) -> None:
        self.rate = rate
        self.requests = 0
        self.faults: Counter[Fault] = Counter()
        self._server_port = server_port
        self._random = random.Random(seed)
        self._forced: deque[Fault] = deque()
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            def handle_one(self) -> None:
                proxy._handle(self)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def fail_next(self, *faults: Fault) -> None:
        """The next requests meet these faults, whatever `rate` is."""
        self._forced.extend(faults)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(TIMEOUT_SECONDS)

    def _draw(self) -> Fault | None:
        with self._lock:
            self.requests += 1
            if self._forced:
                fault = self._forced.popleft()
            elif self._random.random() < self.rate:
                fault = self._random.choice(list(Fault))
            else:
                return None
            self.faults[fault] += 1
            return fault

    def _handle(self, request: _Handler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        fault = self._draw()
        if fault is Fault.UNAVAILABLE:
            request.wfile.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            request.close_connection = True
            return
        if fault is Fault.RESET_BEFORE:
            request.reset()
            return
        head, content = self._forward(request, body)
        if fault is Fault.RESET_AFTER:
            request.reset()
        elif fault is Fault.TRUNCATED:
            # Within the body, else within the status line: Python's client takes cut headers for complete ones.
            request.wfile.write(head + content[: len(content) // 2] if content else head[:10])
            request.close_connection = True
        else:
            request.wfile.write(head + content)

    def _forward(self, request: _Handler, body: bytes) -> tuple[bytes, bytes]:
        """The server's answer as status line with headers, and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=TIMEOUT_SECONDS)
        try:
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            if body or request.command in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
            length = answer.headers["Content-Length"] if request.command == "HEAD" else str(len(content))
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
            if answer.status not in (204, 304):
                kept.append(("Content-Length", length or "0"))
            lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{name}: {value}" for name, value in kept), "", ""]
            return "\r\n".join(lines).encode("latin-1"), content
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.handle_one()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def reset(self) -> None:
        """Closes at once with RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def log_message(self, format: str, *args: object) -> None:
        pass
