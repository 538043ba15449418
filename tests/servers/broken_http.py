"""An HTTP server of 127.0.0.1 that never does what it is asked to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal


@contextmanager
def broken_server(how: Literal["refuses", "hangs"]) -> Iterator[str]:
    """Its URL. It answers every request with 500, or none while the block lasts."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if how == "hangs":
                over.wait()
            with suppress(ConnectionError):  # whoever asked has gone
                self.send_error(500)

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
