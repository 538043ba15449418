"""Alerts and dashboards as the chart renders them: what promtool says, and that people find their way from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chart import monitoring
from chart.helm import CHART, only, rendered
from cluster.packages import program
from command import output_of

pytestmark = pytest.mark.integration

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
SECONDS = 120.0


def promtool(*arguments: str, folder: Path) -> str:
    return output_of([program("promtool"), *arguments], seconds=SECONDS, cwd=folder)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with the rendered rules and their tests."""
    (tmp_path / "rules.yaml").write_text(monitoring.rules_file())
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
    base = "https://wiki.example/limr/runbooks"
    values = [*monitoring.VALUES, "--set", f"metrics.prometheusRule.runbooks={base}"]
    for group in only(rendered(*values), "PrometheusRule")["spec"]["groups"]:
        for alert in group["rules"]:
            assert alert["annotations"]["runbook_url"] == f"{base}#{alert['alert'].lower()}"
            assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
            assert alert["labels"]["severity"] in ("critical", "warning", "info")


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
