"""`python -m chart.metrics_page`: writes the tables of docs/metrics.md from what operator and stages define."""

from __future__ import annotations

from pathlib import Path

from limr import metrics as stage_metrics
from limr.exposition import table
from limr_operator import metrics as operator_metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
TABLES = {"operator": operator_metrics.METRICS, "stages": stage_metrics.METRICS}


def text() -> str:
    """The page as it should be. Raises ValueError when it has no place for a table."""
    page = PAGE.read_text("utf-8")
    for name, metrics in TABLES.items():
        begin, end = f"<!-- {name}: made by `make chart-docs`; do not edit by hand -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE}: lacks the line {begin!r} or {end!r}")
        page = f"{before}{begin}\n\n{table(metrics)}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
