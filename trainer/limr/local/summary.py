"""What a person is told at the end, in five lines at most."""

from __future__ import annotations

from collections.abc import Sequence

from limr.stage import ArmResult, Interval

MODELS_SHOWN = 4


def summary(results: Sequence[ArmResult], report: str) -> list[str]:
    """A line for each model, as many as fit, and where the report is."""
    shown = results if len(results) <= MODELS_SHOWN else results[: MODELS_SHOWN - 1]
    more = len(results) - len(shown)
    return [*_table(shown), *([f"… and {more} more"] if more else []), f"report: {report}"]


def _table(results: Sequence[ArmResult]) -> list[str]:
    rows = [_cells(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(2)] if rows else []
    return ["  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), *row[2:]]).rstrip() for row in rows]


def _cells(result: ArmResult) -> list[str]:
    average = result.benchmarks.get("average")  # there when there are several
    benchmarks = {"average": average} if average else result.benchmarks
    prompts = "untrained" if result.prompts is None else f"{result.prompts:,} prompts"
    cost = [] if result.device_hours is None else [f"{result.device_hours:.3g} device-hours"]
    return [result.name, prompts, *(f"{name} {_percent(value)}" for name, value in benchmarks.items()), *cost]


def _percent(value: Interval) -> str:
    return f"{value.mean:.1%} [{value.low:.1%}, {value.high:.1%}]"
