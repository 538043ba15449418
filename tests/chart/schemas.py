"""Strict JSON schemas for kubeconform, out of Kubernetes' own module, our CRD and the Prometheus operator's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cluster.binaries import KUBECONFORM, PROMETHEUS_OPERATOR
from cluster.kubernetes_module import VERSION
from servers.go_program import run_go

from chart.helm import CHART, Object

SECONDS = 60.0
NUMBER_OR_TEXT = {"anyOf": [{"type": "string"}, {"type": "number"}]}
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def check(objects: list[Object], folder: Path) -> None:
    """Raises AssertionError with what kubeconform says. `folder` keeps the schemas."""
    for thing in objects:
        _write_schema(thing["apiVersion"], thing["kind"], folder)
    done = subprocess.run(
        [
            *(KUBECONFORM.binary(), "-strict", "-summary", "-schema-location"),
            f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json",
        ],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Valid: {len(objects)}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout


def _write_schema(api_version: str, kind: str, folder: Path) -> None:
    group, _, version = api_version.rpartition("/")
    parts = [kind.lower(), *([group.partition(".")[0]] if group else []), version]
    file = folder / f"{'-'.join(parts)}.json"
    if not file.exists():
        file.write_text(json.dumps(_schema(group, version, kind)))


def _schema(group: str, version: str, kind: str) -> Object:
    match group:
        case "limr.dev":
            return _of_crd(CHART / "files" / "crd.yaml")
        case "monitoring.coreos.com":
            folder = PROMETHEUS_OPERATOR.source() / "example" / "prometheus-operator-crd"
            return _of_crd(folder / f"{group}_{kind.lower()}s.yaml")
        case _:
            return _of_kind(group, version, kind)


def _of_kind(group: str, version: str, kind: str) -> Object:
    wanted = {"group": group, "version": version, "kind": kind}
    definitions = _definitions()
    name = next(
        name for name, schema in definitions.items() if wanted in schema.get("x-kubernetes-group-version-kind", ())
    )
    needed: dict[str, Any] = {}
    _collect(name, definitions, needed)
    return {"$ref": f"#/definitions/{name}", "definitions": needed}


def _of_crd(file: Path) -> Object:
    crd = yaml.safe_load(file.read_text("utf-8"))
    schema = _strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@cache
def _definitions() -> Mapping[str, Object]:
    module = json.loads(run_go("mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}"))
    swagger = json.loads((Path(module["Dir"]) / "api" / "openapi-spec" / "swagger.json").read_text("utf-8"))
    definitions: Mapping[str, Object] = swagger["definitions"]
    return definitions


def _collect(name: str, definitions: Mapping[str, Object], needed: dict[str, Any]) -> None:
    if name in needed:
        return
    needed[name] = NUMBER_OR_TEXT if name == QUANTITY else _strict(definitions[name])
    for reference in _references(needed[name]):
        _collect(reference, definitions, needed)


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [found for entry in schema for found in _references(entry)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].rpartition("/")[2]] if isinstance(schema.get("$ref"), str) else []
    return own + [found for entry in schema.values() for found in _references(entry)]


def _strict(schema: Any) -> Any:
    """With unknown fields refused. Kubernetes' schemas are of draft 4, as kubeconform expects."""
    if isinstance(schema, list):
        return [_strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string":
        return NUMBER_OR_TEXT
    result = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result
