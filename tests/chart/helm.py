"""Helm on this checkout's chart, as functions."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from cluster.binaries import HELM
from cluster.kubernetes_module import VERSION

CHART = Path(__file__).parents[2] / "charts" / "limr"
CALL_SECONDS = 120.0

Object = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """PyYAML reads 5e-07, as Helm and kubectl write it, as text."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+e[-+]?[0-9]+$"), list("-0123456789"))


class HelmFailed(Exception):
    """Helm refused; the message is what it said."""


def helm(*arguments: str | Path, kubeconfig: Path | None = None, seconds: float = CALL_SECONDS) -> str:
    """What it printed. Without `kubeconfig` it finds no cluster."""
    done = subprocess.run(
        [HELM.binary(), *arguments],
        env={**os.environ, "KUBECONFIG": str(kubeconfig or os.devnull)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise HelmFailed(done.stderr.strip())
    return done.stdout


def template(*arguments: str, namespace: str = "limr-system") -> str:
    """What the chart comes to, as YAML. (A Helm that `go install` built knows no Kubernetes version of its own.)"""
    return helm("template", "limr", CHART, "--namespace", namespace, "--kube-version", VERSION, *arguments)


def rendered(*arguments: str, namespace: str = "limr-system") -> list[Object]:
    """The same as objects."""
    return documents(template(*arguments, namespace=namespace))


def documents(text: str) -> list[Object]:
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]


def of_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    return [thing for thing in objects if thing["kind"] == kind]


def only(objects: Iterable[Object], kind: str) -> Object:
    """The one of this kind. Raises ValueError when there is another number of them."""
    (found,) = of_kind(objects, kind)
    return found
