"""The stages of an experiment as lines of text: a row for each, below it what a person should know about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from textwrap import shorten, wrap

from rich.text import Text

from limr.kubectl.sparkline import bar, short_duration, sparkline
from limr.plan import ACTIVE, StageState, StageStatus, is_held
from limr.stage import Progress

STYLES = {
    StageState.PENDING: "dim",
    StageState.BLOCKED: "yellow",
    StageState.STARTING: "cyan",
    StageState.QUEUED: "yellow",
    StageState.RUNNING: "cyan",
    StageState.STOPPING: "yellow",
    StageState.TERMINATING: "yellow",
    StageState.SUCCEEDED: "green",
    StageState.FAILED: "bold red",
}
NAME_WIDTH = 20  # longer names push their row to the right
BAR_WIDTH = 8  # beside the longest curve within 80 columns
INDENT = "  "
SILENT_SECONDS = 60  # stages speak every few seconds
# Neighbours that have nothing to say share a line where there are more stages than fit a screen.
MANY, ALIKE = 16, 3
HEADER = f"{'STAGE':<{NAME_WIDTH}}  {'STATE':<11}  TRY  {'STEP':>9}  {'REWARD':>6}  {'TOKENS/S':>8}  {'LEFT':>6}"


def stage_lines(stages: Mapping[str, StageStatus], now: datetime, width: int) -> Iterator[Text]:
    yield Text(HEADER, "bold")
    for names in _groups(stages):
        first = stages[names[0]]
        if len(names) > 1:
            yield Text.assemble(f"{names[0]} … {names[-1]}  ", (f"{len(names)} {first.state}", STYLES[first.state]))
        else:
            yield _row(names[0], first, width)
            yield from _picture(first)
            yield from _notes(first, now, width)


def wrapped(words: str, width: int, first: str = "", others: str = "", style: str = "") -> Iterator[Text]:
    for line in wrap(words, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False):
        yield Text(line, style)


def cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _groups(stages: Mapping[str, StageStatus]) -> Iterator[Sequence[str]]:
    for quiet, group in groupby(stages, lambda name: _quiet(stages[name])):
        names = list(group)
        if quiet and len(stages) > MANY and len(names) >= ALIKE:
            yield names
        else:
            yield from ([name] for name in names)


def _quiet(stage: StageStatus) -> tuple[StageState, str] | None:
    """What stages have in common that have nothing to say of their own."""
    begun = stage.attempt > 0 and stage.state is not StageState.SUCCEEDED
    return None if begun or stage.state in ACTIVE else (stage.state, stage.kind)


def _row(name: str, stage: StageStatus, width: int) -> Text:
    said = stage.progress
    step = f"{said.step}/{said.steps}" if said and said.steps else ""
    reward = f"{said.reward_mean:.3f}" if said and said.reward_mean is not None else ""
    speed = left = ""
    if said and stage.state is StageState.RUNNING:
        speed = f"{said.tokens_per_second:,.0f}" if said.tokens_per_second is not None else ""
        left = short_duration(said.eta_seconds) if said.eta_seconds is not None else ""
    numbers = f"{step:>9}  {reward:>6}  {speed:>8}  {left:>6}"
    row = Text.assemble(f"{name:<{NAME_WIDTH}}  ", (f"{stage.state:<11}", STYLES[stage.state]))
    row.append(f"  {stage.attempt or '':>3}  ")
    row.append(
        shorten(_instead_of_numbers(stage), width - len(row), placeholder=" …", break_on_hyphens=False) or numbers
    )
    row.rstrip()
    return row


def _instead_of_numbers(stage: StageStatus) -> str:
    if stage.selected:
        return f"kept {stage.selected.prompts:,} of {stage.selected.of:,} prompts"
    return stage.message if stage.state is StageState.BLOCKED else ""


def _picture(stage: StageStatus) -> Iterator[Text]:
    """How far it is, and how its reward went."""
    said = stage.progress
    if said is None or not said.steps or not (stage.state in ACTIVE or said.reward_curve):
        return
    share = said.step / said.steps
    yield Text(f"{INDENT}{bar(share, BAR_WIDTH)} {share:>4.0%}{_curve(said)}")


def _curve(said: Progress) -> str:
    curve = said.reward_curve
    return f"  reward {sparkline(curve)} {min(curve):.2f} to {max(curve):.2f}" if curve else ""


def _notes(stage: StageStatus, now: datetime, width: int) -> Iterator[Text]:
    if stage.state in ACTIVE and stage.previous:
        ended = stage.previous
        yield _cut(f"attempt {ended.attempt} ended: {ended.reason}: {ended.message}", width)
    words = ": ".join(filter(None, (stage.reason, stage.message)))
    match stage.state:
        case StageState.RUNNING:
            yield from (_cut(note, width) for note in _signs_of_life(stage, now))
        case _ if words and (stage.state is StageState.FAILED or is_held(stage)):  # a condition has all of it
            yield _cut(words, width)
        case StageState.SUCCEEDED | StageState.BLOCKED:
            pass
        case _ if words:
            yield from wrapped(words, width, INDENT, INDENT)
    if stage.state is StageState.PENDING and stage.retry_at and stage.retry_at > now:
        yield Text(f"{INDENT}next attempt in {short_duration((stage.retry_at - now).total_seconds())}")


def _signs_of_life(stage: StageStatus, now: datetime) -> Iterator[str]:
    said = stage.progress
    if said and said.doing and (said.reward_mean is None or said.part_size):
        yield said.doing
    silent = (now - stage.heartbeat_at).total_seconds() if stage.heartbeat_at else 0
    if silent > SILENT_SECONDS:
        yield f"has said nothing for {short_duration(silent)}"


def _cut(words: str, width: int) -> Text:
    return Text(INDENT + shorten(words, width - len(INDENT), placeholder=" …"))
