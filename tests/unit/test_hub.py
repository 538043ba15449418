"""A hub that refuses: what a person reads is one sentence with the field and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from limr.errors import LimrError
from limr.hub import load_config

LOAD = "from limr.hub import load_config; load_config('org/gated', None)"


class Gated(BaseHTTPRequestHandler):
    """As the hub answers for a model whose terms nobody has accepted."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gated_hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gated)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_model_that_needs_a_token_and_has_none(gated_hub: str, tmp_path: Path) -> None:
    # The hub's address is read when its library is imported.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    process = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**environment, "HF_ENDPOINT": gated_hub, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = process.stderr.strip().splitlines()[-1]
    assert "LimrError: spec.model.uri: the hub does not give 'org/gated'" in last
    assert "spec.model.tokenSecret" in last


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(LimrError, match=r"spec\.model\.uri: no model could be loaded from the directory"):
        load_config(str(tmp_path), None)
