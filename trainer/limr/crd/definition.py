"""The whole CustomResourceDefinition."""

from __future__ import annotations

from typing import Any

from limr.cel import Cel, quoted
from limr.crd import cluster
from limr.crd.immutable import immutable_rule
from limr.crd.structural import RULES, Schema, structural
from limr.plan import Status
from limr.spec import Metadata, Spec

GROUP, VERSION, PLURAL = "limr.dev", "v1alpha1", "limrexperiments"

# heading, path, type, priority (1: only with -o wide), meaning
COLUMNS = (
    ("Phase", ".status.phase", "string", 0, "The whole in one word."),
    ("Stage", ".status.stage", "string", 0, "The stage that matters most now."),
    ("Progress", ".status.progress", "string", 0, "Steps of that stage."),
    ("Selected", ".status.selected", "string", 0, "Prompts kept of all."),
    ("Best", ".status.best", "string", 0, "Best line of the results."),
    ("Device-Hours", ".status.spent", "string", 0, "What it cost so far."),
    ("Charged", ".status.chargedAttempts", "integer", 1, "Attempts that failed."),
    ("Message", ".status.message", "string", 1, "The most telling condition."),
    ("Age", ".metadata.creationTimestamp", "date", 0, "Since when it exists."),
)


def definition() -> dict[str, Any]:
    """As plain data, to be written as YAML."""
    names = {
        "kind": "LIMRExperiment",
        "listKind": "LIMRExperimentList",
        "plural": PLURAL,
        "singular": "limrexperiment",
        "shortNames": ["limr"],
        "categories": ["all", "ml"],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
        "schema": {"openAPIV3Schema": _schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _column(name: str, path: str, kind: str, priority: int, description: str) -> Schema:
    return {"name": name, "jsonPath": path, "type": kind, "priority": priority, "description": description}


def _schema() -> Schema:
    spec = structural(Spec, cluster.SPEC)
    status = structural(Status, cluster.STATUS, defaults=False)
    return {
        "description": "An experiment: measure every prompt's learning impact in a probe, select the prompts worth "
        "training on, train arms on them and on controls, evaluate all of them, and report what was gained.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{GROUP}/{VERSION}.", "type": "string"},
            "kind": {"description": "LIMRExperiment.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": spec | {"description": "What to do. Defaults are the LIMR paper's values."},
            "status": status | {"description": "What has been done, as the operator saw it last."},
        },
        RULES: [rule.to_json() for rule in (*_name_rules(), immutable_rule(spec))],
    }


def _name_rules() -> tuple[Cel, Cel]:
    """Other objects are named after the experiment, with suffixes that must fit."""
    name = Metadata.model_json_schema()["properties"]["name"]
    return (
        Cel(
            f"self.metadata.name.size() <= {name['maxLength']}",
            f"metadata.name: '${{self.metadata.name}}' has ${{self.metadata.name.size()}} characters; write at most "
            f"{name['maxLength']}, because the experiment's jobs are named after it",
        ),
        Cel(
            f"self.metadata.name.matches({quoted(name['pattern'])})",
            "metadata.name: '${self.metadata.name}' is no name for an experiment; write lower-case letters, digits and "
            "single hyphens, beginning with a letter",
        ),
    )
