"""The chart as it is rendered: valid, refused where values are wrong, and what manifests/ and the README say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import manifests, monitoring, readme, schemas
from chart.helm import CHART, Object, documents, helm, of_kind, only, rendered
from cluster.kubernetes_module import kubernetes_program
from command import CommandFailed

from limr.validate import problems

pytestmark = pytest.mark.integration

DIGEST = f"sha256:{'0' * 64}"
VALUES = {
    "defaults": [],
    "namespaces": ["--set", "namespaces={research,limr-system}"],
    "nothing cluster-wide": [
        *("--set", "namespaces={research}", "--set", "crds.install=false"),
        *("--set", "rbac.aggregate=false", "--set", "rbac.priorityClasses=false"),
    ],
    "digests": ["--set", f"image.digest={DIGEST}", "--set", f"trainer.image.digest={DIGEST}"],
    "an account of theirs": ["--set", "serviceAccount.create=false", "--set", "serviceAccount.name=theirs"],
    "everything": ["--values", str(Path(__file__).parents[1] / "chart/everything.yaml")],
    "as little as possible": [
        *("--set", "crds.install=false", "--set", "podDisruptionBudget.enabled=false"),
        *("--set", "networkPolicy.enabled=false", "--set-json", "topologySpreadConstraints=[]"),
    ],
}
WRONG = {
    "replicas=3": "additional properties 'replicas' not allowed",
    "image.tags=1": "at '/image': additional properties 'tags' not allowed",
    "image.digest=sha256:12": "at '/image/digest': 'sha256:12' does not match pattern",
    "replicaCount=two": "at '/replicaCount': got string, want integer",
    "logging.level=info": "at '/logging/level': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'",
    "namespaces={Research}": "at '/namespaces/0': 'Research' does not match pattern",
    "namespaces=research": "at '/namespaces': got string, want array",
    "tests.storage.uri=runs": "at '/tests/storage/uri': 'runs' does not match pattern",
    "networkPolicy.apiPorts={0}": "at '/networkPolicy/apiPorts/0': minimum: got 0, want 1",
    "serviceAccount.create=false": "serviceAccount.name: is missing; name the ServiceAccount",
    "extraEnv[0].name=POD_NAME": "at '/extraEnv/0/name': 'not' failed",
    "metrics.interval=often": "at '/metrics/interval': 'often' does not match pattern",
    "metrics.prometheusRule.runbooks=docs/runbooks.md": "'docs/runbooks.md' does not match pattern",
    "metrics.prometheusRule.thresholds.klNats=much": "at '/metrics/prometheusRule/thresholds/klNats': 'anyOf' failed",
    "metrics.dashboard.enabled=true": "at '/metrics': additional properties 'dashboard' not allowed",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schemas")


def container(objects: list[Object]) -> Object:
    found: Object = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


def kustomized(target: Path) -> list[Object]:
    command = [kubernetes_program("kubectl"), "kustomize", target]
    return documents(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


def by_name(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    def key(thing: Object) -> tuple[str, str, str]:
        return thing["kind"], thing["metadata"].get("namespace", ""), thing["metadata"]["name"]

    return {key(thing): thing for thing in objects}


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from strings(entry)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_lint(values: list[str]) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, *values)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_what_is_rendered_is_valid(values: list[str], folder: Path) -> None:
    objects = rendered(*values)
    schemas.check(objects, folder)
    assert len(by_name(objects)) == len(objects)


def test_an_unknown_field_would_not_be_valid(folder: Path) -> None:
    deployment = only(rendered(), "Deployment")
    deployment["spec"]["template"]["spec"]["serviceAcountName"] = "limr"
    with pytest.raises(AssertionError, match="serviceAcountName"):
        schemas.check([deployment], folder)


@pytest.mark.parametrize(("wrong", "sentence"), WRONG.items())
def test_wrong_values_are_refused(wrong: str, sentence: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        rendered("--set", wrong)
    assert sentence in str(refused.value)


def test_it_may_be_a_part_of_another_chart(tmp_path: Path) -> None:
    """Helm then gives it a value `global`."""
    (tmp_path / "Chart.yaml").write_text(
        "apiVersion: v2\nname: platform\nversion: 1.0.0\n"
        f"dependencies: [{{name: limr, version: 0.1.0, repository: 'file://{CHART}'}}]\n"
    )
    helm("dependency", "build", tmp_path)
    found = documents(helm("template", "p", tmp_path, "--kube-version", "1.34.0", "--set", "global.a=1"))
    assert only(found, "Deployment")["metadata"]["name"] == "p-limr"


def test_nothing_of_prometheus_or_grafana_is_needed_by_default() -> None:
    objects = rendered()
    assert not any("monitoring.coreos.com" in thing["apiVersion"] for thing in objects)
    assert not of_kind(objects, "Service")


def test_monitors_find_what_serves_metrics() -> None:
    objects = rendered(*monitoring.VALUES)
    service, operator = only(objects, "Service"), only(objects, "Deployment")["spec"]["template"]
    assert service["spec"]["selector"].items() <= monitoring.labels_of(operator).items()
    wanted = only(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= monitoring.labels_of(service).items()
    stages = only(objects, "PodMonitor")["spec"]
    assert stages["namespaceSelector"] == {"any": True}
    assert [endpoint["port"] for endpoint in stages["podMetricsEndpoints"]] == ["limr-metrics"]
    some = only(rendered(*monitoring.VALUES, *VALUES["namespaces"]), "PodMonitor")["spec"]
    assert some["namespaceSelector"] == {"matchNames": ["limr-system", "research"]}


def test_images() -> None:
    defaults = container(rendered())
    assert defaults["image"] == "limr-operator:0.1.0"
    assert "--trainer-image=limr-trainer:0.1.0" in defaults["args"]
    pinned = container(rendered(*VALUES["digests"], "--set", "image.tag=main"))
    assert pinned["image"] == f"limr-operator@{DIGEST}"
    assert f"--trainer-image=limr-trainer@{DIGEST}" in pinned["args"]


def test_scope() -> None:
    everywhere, listed = rendered(), rendered(*VALUES["namespaces"])
    assert not [argument for argument in container(everywhere)["args"] if "--namespace" in argument]
    assert [argument for argument in container(listed)["args"] if "--namespace" in argument] == [
        "--namespace=$(POD_NAMESPACE)",
        "--namespace=research",
    ]
    roles = [role["metadata"] for role in of_kind(listed, "Role") if role["metadata"]["name"] == "limr"]
    assert [role["namespace"] for role in roles] == ["limr-system", "research"]
    assert {"limr"} == names(everywhere, "ClusterRole") - names(listed, "ClusterRole")


def names(objects: list[Object], kind: str) -> set[str]:
    return {thing["metadata"]["name"] for thing in of_kind(objects, kind)}


def test_nothing_cluster_wide_where_that_is_asked() -> None:
    objects = rendered(*VALUES["nothing cluster-wide"])
    assert all("namespace" in thing["metadata"] for thing in objects)


def test_no_right_to_read_secrets() -> None:
    for values in VALUES.values():
        rules = [rule for thing in rendered(*values) for rule in thing.get("rules", ())]
        assert not [text for text in strings(rules) if text in ("secrets", "*") or text.startswith("pods/")]


def test_the_crd_is_kept_unless_told_otherwise() -> None:
    assert only(rendered(), "CustomResourceDefinition")["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }
    dropped = only(rendered("--set", "crds.keep=false"), "CustomResourceDefinition")
    assert "annotations" not in dropped["metadata"]
    assert dropped["spec"] == yaml.safe_load((CHART / "files/crd.yaml").read_text("utf-8"))["spec"]


def test_the_experiments_of_helm_test_are_valid(folder: Path) -> None:
    for values, wanted in (([], "Accepted"), (VALUES["everything"], "Complete")):
        objects = rendered(*values)
        pod = only(objects, "Pod")
        assert wanted in pod["spec"]["containers"][0]["command"]
        maps = [thing["data"] for thing in of_kind(objects, "ConfigMap")]
        (files,) = (data for data in maps if "experiment.json" in data)
        experiment = json.loads(files["experiment.json"])
        assert experiment["spec"].get("schedule", {}).get("suspend", False) is (wanted == "Accepted")
        assert problems(experiment) == []
        schemas.check([experiment], folder)
        assert files["helm_test.py"].strip() == (CHART / "files/helm_test.py").read_text("utf-8").strip()


def test_the_readme_is_up_to_date() -> None:
    assert readme.README.read_text("utf-8") == readme.text(), "run: make chart-docs"


def test_every_value_is_described() -> None:
    rows = [line.split(" | ") for line in readme.text().partition("## Values")[2].splitlines()[4:]]
    described = {row[0].strip("| "): row[3].strip("| ") for row in rows if len(row) == 4}
    assert all(described.values())
    missing = set(paths(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")))) - described.keys()
    assert not missing


def paths(values: Object, prefix: str = "") -> Iterator[str]:
    """Of values, not of what a value described as a whole has inside."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and path not in ("resources", "tests.spec"):
            yield from paths(value, f"{path}.")
        else:
            yield path


def test_manifests_are_up_to_date() -> None:
    for path, text in manifests.made().items():
        assert path.read_text("utf-8") == text, "run: make manifests"


@pytest.mark.parametrize(
    ("overlay", "values"), [("base", []), ("namespaced", ["--set", "namespaces={limr-system}"])], ids=lambda value: ""
)
def test_manifests_are_what_the_chart_installs(overlay: str, values: list[str], folder: Path) -> None:
    applied = kustomized(manifests.FOLDER / overlay)
    schemas.check(applied, folder)
    others = [thing for thing in applied if thing["kind"] not in ("Namespace", "CustomResourceDefinition")]
    assert by_name(others) == by_name(manifests.everything(*values))
    crd = yaml.safe_load((CHART / "files/crd.yaml").read_text("utf-8"))
    assert only(applied, "CustomResourceDefinition") == crd
    labels = only(applied, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_an_overlay_moves_all_to_another_namespace(tmp_path: Path) -> None:
    above = Path("../" * len(tmp_path.parts)) / str(manifests.FOLDER / "namespaced").lstrip("/")
    (tmp_path / "kustomization.yaml").write_text(f"namespace: research\nresources: [{above}]\n")
    found = kustomized(tmp_path)
    assert only(found, "Namespace")["metadata"]["name"] == "research"
    assert "limr-system" not in set(strings(found))
