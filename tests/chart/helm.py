"""Helm on this checkout's chart, as functions."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from cluster.binaries import HELM
from cluster.kubernetes_module import VERSION
from command import output_of

CHART = Path(__file__).parents[2] / "charts" / "limr"
CALL_SECONDS = 120.0

Object = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """PyYAML reads 5e-07, as Helm and kubectl write it, as text."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+e[-+]?[0-9]+$"), list("-0123456789"))


def helm(*arguments: str | Path, kubeconfig: Path | None = None, seconds: float = CALL_SECONDS) -> str:
    """What it printed. Without `kubeconfig` it finds no cluster."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig or os.devnull)}
    return output_of([HELM.binary(), *arguments], seconds=seconds, env=environment)


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


def newer_chart(folder: Path) -> Path:
    """The chart's next version, whose CRD has one more column, NEWS."""
    chart = shutil.copytree(CHART, folder / "limr")
    crd = yaml.safe_load((chart / "files/crd.yaml").read_text("utf-8"))
    column = {"name": "News", "type": "string", "jsonPath": ".spec.model.uri"}
    crd["spec"]["versions"][0]["additionalPrinterColumns"].append(column)
    (chart / "files/crd.yaml").write_text(yaml.safe_dump(crd))
    text = (chart / "Chart.yaml").read_text("utf-8")
    (chart / "Chart.yaml").write_text(
        text.replace("version: 0.1.0\nappVersion: 0.1.0", "version: 0.2.0\nappVersion: 0.1.0")
    )
    return chart
