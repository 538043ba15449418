"""The CustomResourceDefinition: structural, described, and as the chart has it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from wrong_specs import VALID, WRONG_SPECS, WrongSpec

from limr.cel import Cel
from limr.crd import definition
from limr.crd.command import text
from limr.crd.immutable import fixed_fields
from limr.spec import PAPER_PROTOCOL, Experiment
from limr.validate import InvalidSpec, from_manifest, problems
from limr.validate.manifest import WRITTEN

CHART = Path(__file__).parents[2] / "charts/limr/files/crd.yaml"
Schema = dict[str, Any]


def root() -> Schema:
    schema: Schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def at(path: str) -> Schema:
    schema = root()
    for step in path.split("."):
        name, brackets, _ = step.partition("[]")
        schema = schema["properties"][name]
        if brackets:
            schema = schema["items"] if "items" in schema else schema["additionalProperties"]
    return schema


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema in the schema, with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from nodes(schema[inner], f"{path}[]")


def test_the_chart_has_it() -> None:
    assert CHART.read_text(encoding="utf-8") == text(), "run: limr crd --output charts/limr/files/crd.yaml"


def test_it_is_plain_yaml() -> None:
    assert yaml.safe_load(text()) == definition()
    assert "&id" not in text()
    assert len(text()) < 262_144, "more does not fit the annotation of a client-side apply"


def test_it_is_structural() -> None:
    for path, schema in nodes(root()):
        assert schema.get("type") or schema.get("x-kubernetes-preserve-unknown-fields"), path
        assert not schema.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf", "const", "title", "prefixItems"}, path
        assert all(schema.get(f"exclusive{bound}", True) is True for bound in ("Minimum", "Maximum")), path
        assert schema.get("type") != "null", path
        assert not ("properties" in schema and "additionalProperties" in schema), path


def test_every_field_is_described() -> None:
    for path, schema in nodes(root()):
        for name, field in schema.get("properties", {}).items():
            if f"{path}.{name}" != ".metadata":  # the API server allows no words there
                assert field.get("description", "")[-1:] in (".", ")"), f"{path}.{name}"
    for path in ("spec.arms[]", "spec.evaluation.benchmarks[]", "status.results[]", "status.stages[]"):
        assert at(path).get("description"), path


def test_bounds_enums_and_defaults() -> None:
    assert at("spec.ppo.clipLow") | {"description": ""} == {
        "description": "",
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 1,
        "exclusiveMaximum": True,
        "default": 0.2,
    }
    betas = at("spec.ppo.adamBetas")
    assert (betas["minItems"], betas["maxItems"], betas["items"]["maximum"]) == (2, 2, 1)
    assert at("spec.ppo.zeroStage")["enum"] == [1, 2, 3]
    assert at("spec.evaluation.protocol")["enum"] == ["paper"]
    assert at("spec.arms")["default"] == [{"name": "lim", "seeds": [1], "reuseProbe": False}]


def test_parts_have_whole_defaults() -> None:
    """CEL looks at the default itself, before the fields' own defaults."""
    for path, schema in nodes(root()):
        for name, field in schema.get("properties", {}).items():
            if field.get("properties") and "default" in field:
                inner = {key: sub["default"] for key, sub in field["properties"].items() if "default" in sub}
                assert field["default"] == inner, f"{path}.{name}"


def test_null_may_stand_where_the_model_allows_it() -> None:
    assert all(at(f"spec.{path}")["nullable"] for path in ("ppo.valueClip", "ppo.dualClip", "limits.deviceHours"))
    assert "nullable" not in at("spec.ppo.gamma")
    assert not [path for path, schema in nodes(at("status")) if "nullable" in schema]


def test_what_is_compared_as_a_whole_holds_no_null() -> None:
    """It would not be equal to itself."""
    for path, _ in fixed_fields(at("spec")):
        assert not [where for where, inner in nodes(at(f"spec.{path}")) if where and inner.get("nullable")], path


def test_a_null_that_kubectl_dropped_is_told() -> None:
    written = {**VALID, "spec": {**VALID["spec"], "ppo": {"valueClip": None, "importanceClip": None, "dualClip": None}}}
    stored = {**VALID, "spec": {**VALID["spec"], "ppo": {"valueClip": 0.2, "importanceClip": None}}}
    stored["metadata"] = {**VALID["metadata"], "annotations": {WRITTEN: json.dumps(written)}}
    assert problems(stored) == [
        "spec.ppo.valueClip: is 0.2, the default, because kubectl apply drops null; write 0 for none"
    ]
    for odd in ("", "[]", "{", '{"spec": null}'):
        stored["metadata"]["annotations"][WRITTEN] = odd
        assert problems(stored) == []


def test_what_the_protocol_sets_has_no_default() -> None:
    fields = at("spec.evaluation.benchmarks[]")["properties"]
    for settings in PAPER_PROTOCOL.values():
        assert not any("default" in fields[name] for name in settings)


def test_storage_must_be_written() -> None:
    assert root()["properties"]["spec"]["required"] == ["model", "dataset", "storage"]
    assert at("spec.storage")["required"] == ["uri"]
    assert "default" not in at("spec.storage")


def test_the_status_has_no_defaults() -> None:
    assert not [path for path, schema in nodes(root()) if path.startswith(".status") and "default" in schema]


def test_every_rule_says_what_to_do() -> None:
    for path, schema in nodes(root()):
        for rule in schema.get("x-kubernetes-validations", ()):
            assert ("message" in rule) != ("messageExpression" in rule), path
            assert len(rule.get("message", "")) < 2048
            assert "\n" not in rule.get("message", "")


def test_columns() -> None:
    columns = definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"].upper() for column in columns if not column["priority"]]
    assert shown == ["PHASE", "STAGE", "PROGRESS", "SELECTED", "BEST", "DEVICE-HOURS", "AGE"]
    for column in columns:
        if column["jsonPath"].startswith(".status"):
            assert at(column["jsonPath"][1:])["type"] == column["type"]


def test_messages_with_values_are_expressions() -> None:
    rule = Cel("self.a > 0", "it's ${self.a} % \\ too small", at="a").to_json()
    assert rule == {
        "rule": "self.a > 0",
        "messageExpression": "'it\\'s %s %% \\\\ too small'.format([self.a])",
        "fieldPath": ".a",
    }


def test_fixed_fields_are_those_that_may_not_change() -> None:
    fixed = {path for path, _ in fixed_fields(at("spec"))}
    assert {
        "ppo.promptsPerStep",
        "arms",
        "selection",
        "storage.uri",
        "storage.texts",
        "reward.function",
        "seed",
    } <= fixed
    assert not fixed & {"cluster", "storage.endpoint", "reward.workers", "checkpoint", "limits"}


@pytest.mark.parametrize("wrong", WRONG_SPECS, ids=lambda wrong: wrong.name)
def test_what_a_cluster_refuses_is_refused_on_a_laptop(wrong: WrongSpec) -> None:
    found = problems(wrong.manifest)
    assert bool(found) is wrong.on_a_laptop
    if wrong.refused_by == "condition":
        assert wrong.says in "\n".join(found)


def test_a_stored_experiment_is_read() -> None:
    stored = {**VALID, "metadata": {**VALID["metadata"], "uid": "u", "generation": 3, "managedFields": []}}
    stored["status"] = {"phase": "Pending"}
    assert problems(stored) == []
    experiment = from_manifest(stored)
    assert isinstance(experiment, Experiment)
    assert experiment.metadata.generation == 3


def test_a_strategy_of_the_trainers_image_is_known() -> None:
    wrong = {**VALID, "spec": {**VALID["spec"], "selection": {"strategy": "mine"}}}
    with pytest.raises(InvalidSpec, match="there is no strategy 'mine'"):
        from_manifest(wrong)
    assert problems(wrong, strategies=["mine"]) == []


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "limr", "crd"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed == text()
    refused = subprocess.run(
        [*command, "--output", tmp_path / "no" / "crd.yaml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 1
    assert "crd.yaml: cannot be written" in refused.stderr
