"""Kubeconfig files: one cluster, one user, everything inside the file."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml

from cluster.authority import KeyPair

NAME = "limr-test"


def write_kubeconfig(path: Path, server: str, authority: Path, user: KeyPair | str) -> Path:
    """For a user with a certificate, or with a token."""
    if isinstance(user, KeyPair):
        credentials: dict[str, Any] = {
            "client-certificate-data": _base64(user.certificate),
            "client-key-data": _base64(user.key),
        }
    else:
        credentials = {"token": user}
    cluster = {"server": server, "certificate-authority-data": _base64(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": credentials}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
    }
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(yaml.safe_dump(document))
    os.replace(temporary, path)
    return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
