"""Alerts and dashboards as the chart renders them: what promtool says, and that people find their way from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from chart import monitoring
from chart.helm import CHART
from cluster.packages import program
from command import output_of

pytestmark = pytest.mark.integration

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
SECONDS = 120.0
URL = ("--set", "metrics.prometheusRule.runbooks=https://wiki.example/runbooks")  # as rules_test.yaml expects


def promtool(*arguments: str, folder: Path) -> str:
    return output_of([program("promtool"), *arguments], seconds=SECONDS, cwd=folder)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with the rendered rules and their tests."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(monitoring.rules(*URL), width=1000))
    (tmp_path / "rules_test.yaml").write_text((CHART / "files/rules_test.yaml").read_text("utf-8"))
    return tmp_path


def test_promtool_finds_no_fault_in_the_rules(rules: Path) -> None:
    assert f"{len(monitoring.alerts())} rules found" in promtool("check", "rules", "rules.yaml", folder=rules)


def test_every_alert_fires_when_it_should_and_only_then(rules: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yaml", folder=rules)
    tested = set(re.findall(r'alertname="(\w+)"\}\)', (rules / "rules_test.yaml").read_text()))
    assert tested == {alert["alert"] for alert in monitoring.alerts()}


def test_every_alert_leads_to_a_runbook() -> None:
    page = RUNBOOKS.read_text("utf-8")
    sections = {section.partition("\n")[0]: section for section in page.split("\n## ")[1:]}
    assert list(sections) == list(dict.fromkeys(sections))
    assert set(sections) == {alert["alert"] for alert in monitoring.alerts()}
    for section in sections.values():
        assert all(f"**{part}.**" in section for part in ("Meaning", "Impact", "Look at", "Do"))
    for alert in monitoring.alerts():
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}
        assert alert["annotations"]["runbook"].startswith(f"docs/runbooks.md#{alert['alert'].lower()} of limr ")
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
    for group in monitoring.rules(*URL)["groups"]:
        for alert in group["rules"]:
            assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
            assert alert["annotations"]["runbook_url"] == f"https://wiki.example/runbooks#{alert['alert'].lower()}"


def test_every_threshold_changes_one_alert() -> None:
    """And no other: a number that stands in two alerts would be two thresholds."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["metrics"]["prometheusRule"]["thresholds"]
    usual = {alert["alert"]: alert for alert in monitoring.alerts()}
    for name, value in values.items():
        other = {str: "2h", int: "17", float: "0.123"}[type(value)]
        groups = monitoring.rules("--set", f"metrics.prometheusRule.thresholds.{name}={other}")["groups"]
        changed = [alert for group in groups for alert in group["rules"] if alert != usual[alert["alert"]]]
        assert len(changed) == 1, name
        assert other in str(changed[0])


def test_dashboards_are_what_the_sidecar_and_grafana_expect() -> None:
    found = monitoring.dashboards()
    assert found.keys() == {"limr-fleet.json", "limr-experiment.json", "limr-operator.json"}
    assert len({dashboard["uid"] for dashboard in found.values()}) == len(found)
    for dashboard in found.values():
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        ids = [panel["id"] for panel in monitoring.panels(dashboard)]
        assert len(set(ids)) == len(ids)
        for panel in monitoring.panels(dashboard):
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            used = set(re.findall(r"\$\{?([a-z]\w*)", str(panel)))
            assert used <= variables
            assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("a > 1", "a > bool 1"),
        ('a{b=~"x>y",c!="d"} == 1', 'a{b=~"x>y",c!="d"} == bool 1'),
        ("a <= b and c >= 0.5", "a <= bool b and c >= bool 0.5"),
        ("sum(rate(a[5m])) / b", "sum(rate(a[5m])) / b"),
    ],
)
def test_an_expression_without_its_comparison(expression: str, shown: str) -> None:
    assert monitoring.uncompared(expression) == shown
