"""A selection's summary as a few lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Summary = Mapping[str, Any]

BECAUSE = {
    "not_in_dataset": "not in the dataset",
    "no_score": "seen in too few epochs",
    "not_in_source": "in the dataset only",
}


def table(summary: Summary) -> str:
    lines = [f"{name:<14}{text}" for name, text in _lines(summary)]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in summary["warnings"])])


def _lines(summary: Summary) -> Iterator[tuple[str, str]]:
    yield "strategy", _strategy(summary)
    yield "prompts", f"{summary['prompts']:,}"
    yield "scored", f"{summary['scored']:,}{_dropped(summary)}"
    yield "scores", f"{summary['score_min']:.2f} … {summary['score_max']:.2f}"
    yield "selected", f"{summary['selected']:,} ({summary['selected'] / summary['scored']:.1%} of the scored)"
    if "epochs" in summary:
        yield from _trust(summary)


def _strategy(summary: Summary) -> str:
    details = {
        "reading": summary["reading"],
        **summary["parameters"],
        "threshold": summary["threshold"],
        "size": summary["size"],
        "rounded to": summary["round_digits"],
        "seed": summary["seed"],
    }
    given = ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)
    return f"{summary['strategy']} ({given})" if given else summary["strategy"]


def _dropped(summary: Summary) -> str:
    because = [f"{count:,} {BECAUSE[reason]}" for reason, count in summary["dropped_because"].items() if count]
    return f", {summary['dropped']:,} dropped ({', '.join(because)})" if because else ""


def _trust(summary: Summary) -> Iterator[tuple[str, str]]:
    average = [value for value in summary["average_accuracy"] if value is not None]
    yield "accuracy", f"{average[0]:.2f} in the first, {average[-1]:.2f} in the last of {summary['epochs']} epochs"
    yield "never solved", f"{summary['never_solved_selected']:,} of the selected"
    yield "always solved", f"{summary['always_solved_selected']:,} of the selected"
    if summary["stability"]:
        overlaps = ", ".join(f"{entry['jaccard']:.0%} at {entry['epochs']}" for entry in summary["stability"])
        yield "stability", f"overlap with the subset of fewer epochs: {overlaps}"
