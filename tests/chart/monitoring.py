"""What of the chart speaks to Prometheus and Grafana, as the chart renders it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from chart.helm import Object, of_kind, only, rendered

VALUES = [
    argument
    for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboards")
    for argument in ("--set", f"metrics.{name}.enabled=true")
]
# Outside of label matchers and texts.
COMPARISON = re.compile(r"(==|!=|<=|>=|<(?!=)|>(?!=))(?!\s*bool)")
HIDDEN = re.compile(r"""\{[^}]*\}|"[^"]*"|'[^']*'""")


def rules(*arguments: str) -> Object:
    """What a file of rules for Prometheus holds."""
    found: Object = only(rendered(*VALUES, *arguments), "PrometheusRule")["spec"]
    return found


def alerts() -> list[Object]:
    return [rule for group in rules()["groups"] for rule in group["rules"]]


def dashboards() -> dict[str, Any]:
    """By file name."""
    maps = [thing for thing in of_kind(rendered(*VALUES), "ConfigMap") if "grafana_dashboard" in labels_of(thing)]
    return {name: json.loads(text) for thing in maps for name, text in thing["data"].items()}


def labels_of(thing: Object) -> Object:
    found: Object = thing["metadata"].get("labels", {})
    return found


def panels(dashboard: Any) -> Iterator[Any]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def uncompared(expression: str) -> str:
    """The expression with comparisons that give 0 or 1 instead of leaving series out."""
    parts, end = [], 0
    for hidden in HIDDEN.finditer(expression):
        parts += [COMPARISON.sub(r"\1 bool", expression[end : hidden.start()]), hidden.group()]
        end = hidden.end()
    return "".join([*parts, COMPARISON.sub(r"\1 bool", expression[end:])])
