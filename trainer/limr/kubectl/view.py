"""What `limr status` shows of an experiment: what wants attention first, then stages, warnings and results. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from limr.kubectl.experiments import Experiment
from limr.kubectl.sparkline import short_duration
from limr.kubectl.stage_lines import cut, stage_lines, wrapped
from limr.local.words import progress_words
from limr.plan import Condition, Phase, StageState, Status, is_held
from limr.stage import ArmResult, Interval

PHASE_STYLES = {
    Phase.PENDING: "yellow",
    Phase.RUNNING: "cyan",
    Phase.SUSPENDING: "yellow",
    Phase.SUSPENDED: "yellow",
    Phase.COMPLETE: "green",
    Phase.FAILED: "bold red",
}
INDENT = "  "
WARNINGS_SHOWN = 3
FINAL = (Phase.COMPLETE, Phase.FAILED)
WORRYING = ("Accepted", "Failed", "Guarded", "Suspended", "Progressing")  # conditions, the worst first


def view(experiment: Experiment, warnings: Sequence[dict[str, Any]], now: datetime, width: int) -> Text:
    """`warnings`: the experiment's events of type Warning, in any order. `width` in characters."""
    status = experiment.status
    parts = [
        [_title(experiment, now)],
        list(_attention(experiment, width)),
        list(stage_lines(status.stages, now, width)) if status.stages else [],
        list(_warnings(warnings, now, width)),
        list(_results(experiment)),
    ]
    return Text("\n\n").join(Text("\n").join(part) for part in parts if part)


def plain_line(status: Status) -> str:
    """The whole in one line, for a log."""
    stage = status.stages.get(status.stage.partition(" ")[0])
    at_work = stage is not None and stage.state is StageState.RUNNING
    words = progress_words(stage.progress) if stage and at_work else ""
    what = f"{status.stage}: {words or status.progress}" if status.stage else status.progress
    telling = "" if at_work or not status.message else f": {status.message}"
    return f"{status.phase} {what}{telling}".rstrip()


def _title(experiment: Experiment, now: datetime) -> Text:
    status = experiment.status
    created = datetime.fromisoformat(experiment.manifest["metadata"]["creationTimestamp"])
    budget = experiment.manifest["spec"].get("limits", {}).get("deviceHours")
    spent = f"{status.device_hours:.2f}" + (f" of {budget:g}" if budget is not None else "")
    return Text.assemble(
        (experiment.name, "bold"),
        f" in {experiment.namespace}: ",
        (str(status.phase), PHASE_STYLES[status.phase]),
        f", {short_duration((now - created).total_seconds())} old, {spent} device-hours",
    )


def _attention(experiment: Experiment, width: int) -> Iterator[Text]:
    """Conditions that keep it from going on, and what to do."""
    if not experiment.status.conditions:
        yield from wrapped(
            "The operator has not looked at it yet. If that lasts: is it running, and does it work for this namespace? "
            "(kubectl get pods -A -l app.kubernetes.io/name=limr)",
            width,
        )
    for condition in filter(None, map(experiment.status.condition, WORRYING)):
        if _worries(condition):
            style = "bold red" if condition.type in ("Accepted", "Failed", "Guarded") else "yellow"
            negated = "Not " if condition.status == "False" else ""
            reason = "" if condition.reason == condition.type else f": {condition.reason}"
            yield Text(f"{negated}{condition.type}{reason}", style)
            for line in condition.sentence.splitlines():
                yield from wrapped(line, width, INDENT, INDENT)
            for line in condition.message.removeprefix(condition.sentence).split("\n"):  # the last lines of logs
                if line:
                    yield Text(INDENT + cut(line, width - len(INDENT)), "dim")
            if command := _remedy(condition, experiment):
                yield Text(f"{INDENT}→ {command}", "bold")


def _worries(condition: Condition) -> bool:
    if condition.type == "Progressing":
        return condition.reason == "WaitingToRetry"
    if condition.reason == "Guarded":
        return False  # the condition Guarded says all of it
    return condition.status == ("False" if condition.type == "Accepted" else "True")


def _remedy(condition: Condition, experiment: Experiment) -> str:
    if condition.type == "Guarded" and any(map(is_held, experiment.status.stages.values())):
        return f"when the cause is mended: kubectl limr resume {_named(experiment)}"
    return {
        "StageFailed": f"when the cause is mended: kubectl limr retry {_named(experiment)}",
        "Suspended": f"to go on: kubectl limr resume {_named(experiment)}",
    }.get(condition.reason, "")


def _named(experiment: Experiment) -> str:
    return f"{experiment.name} -n {experiment.namespace}"


def _warnings(events: Sequence[dict[str, Any]], now: datetime, width: int) -> Iterator[Text]:
    telling = [event for event in events if event["reason"] != Phase.FAILED]  # the title has it
    latest = sorted(telling, key=_time_of, reverse=True)[:WARNINGS_SHOWN]
    if latest:
        yield Text("LAST WARNINGS", "bold")
    for event in latest:
        age = short_duration((now - _time_of(event)).total_seconds())
        sentence = event["message"].partition("\n")[0]
        yield from wrapped(f"{age:>6} ago  {event['reason']}: {sentence}", width, "", " " * 12)


def _time_of(event: dict[str, Any]) -> datetime:
    written = event.get("eventTime") or event.get("lastTimestamp") or event["metadata"].get("creationTimestamp")
    return datetime.fromisoformat(written) if written else datetime.min.replace(tzinfo=UTC)


def _results(experiment: Experiment) -> Iterator[Text]:
    status = experiment.status
    if not status.results:
        return
    names = dict.fromkeys(name for result in status.results for name in result.benchmarks)
    shown = ["average"] if "average" in names else list(names)
    cells = "".join(f"  {name:<22}" for name in shown)
    yield Text(f"{'RESULTS':<18}  PROMPTS{cells}  DEVICE-HOURS", "bold")
    for result in status.results:
        yield Text(_result(result, shown), "bold" if status.best.startswith(f"{result.name} ") else "")
    yield Text(f"→ kubectl limr report {_named(experiment)}", "bold")


def _result(result: ArmResult, shown: Sequence[str]) -> str:
    prompts = "–" if result.prompts is None else f"{result.prompts:,}"
    cells = "".join(f"  {_accuracy(result.benchmarks.get(name)):<22}" for name in shown)
    hours = "–" if result.device_hours is None else f"{result.device_hours:.2f}"
    return f"{result.name:<18}  {prompts:>7}{cells}  {hours:>12}"


def _accuracy(value: Interval | None) -> str:
    return "–" if value is None else f"{value.mean:.1%} [{value.low:.1%}, {value.high:.1%}]"
