"""`python -m chart.manifests`: writes what of manifests/ is made from the chart.

manifests/base is the chart with its defaults; manifests/namespaced is that with the rights of one namespace. The CRD is
not copied: base takes it from the chart's folder. manifests/prometheus has the alerts as a file for Prometheus.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from chart import monitoring
from chart.helm import Object, rendered

FOLDER = Path(__file__).parents[2] / "manifests"
NAMESPACE = "limr-system"
HEADING = "# Made from charts/limr by `make manifests`; do not edit by hand.\n"
HELMS_OWN = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def made() -> dict[Path, str]:
    """Files below manifests/ and their texts."""
    cluster_wide, namespaced = everything(), everything("--set", f"namespaces={{{NAMESPACE}}}")
    roles = [thing for thing in namespaced if thing not in cluster_wide and thing["kind"] in ("Role", "RoleBinding")]
    return {
        FOLDER / "base" / "operator.yaml": _text(cluster_wide),
        FOLDER / "namespaced" / "role.yaml": _text(roles),
        FOLDER / "prometheus" / "rules.yaml": _text([monitoring.rules()]),
    }


def everything(*arguments: str) -> list[Object]:
    """The chart's objects but the CRD and the hooks, without what only Helm needs."""
    found = rendered("--no-hooks", "--set", "crds.install=false", *arguments, namespace=NAMESPACE)
    return [without_helm(thing) for thing in found]


def without_helm(thing: Object) -> Object:
    labels = {key: value for key, value in thing["metadata"]["labels"].items() if key not in HELMS_OWN}
    return {**thing, "metadata": {**thing["metadata"], "labels": labels}}


def _text(objects: list[Object]) -> str:
    return HEADING + yaml.safe_dump_all(objects, sort_keys=False, width=120)


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")
