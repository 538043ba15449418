"""`limr select`: chooses prompts from any training's samples, or from scores that one already has."""

from __future__ import annotations

import json
import math

import click

from limr import dataset as datasets
from limr.selection import output, run
from limr.selection.scores_file import read_scores
from limr.selection.sources import Summing, read_trajectories, summed
from limr.selection.strategy import Parameter
from limr.selection.summary import table
from limr.spec import Reading, Strategy, SubsetSize
from limr.store import open_store, read_uri


def _finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter("write a finite number")
    return value


def _named_values(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Parameter]:
    named = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not separator:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
        named[name] = _value(text)
    return named


def _value(text: str) -> Parameter:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@click.command("select", context_settings={"show_default": True})
@click.option(
    "--trajectories", metavar="PATH", help="Samples of a training: Parquet, JSONL, JSON or step_N.json files."
)
@click.option("--scores", metavar="FILE", help="Scores one already has: JSON, JSONL or Parquet.")
@click.option("--dataset", metavar="FILE", help="Keep only prompts of this JSON or JSONL file, and write its rows.")
@click.option("--strategy", default="lim", help="lim, linear, random, full, passrate, variance, or an installed one.")
@click.option("--threshold", type=float, callback=_finite, help="Keep scores from here on.  [default: the strategy's]")
@click.option("--size", type=click.IntRange(min=1), help="Keep this many: the best, or drawn by random.")
@click.option("--fraction", type=click.FloatRange(0, 1, min_open=True), help="Keep this share of the dataset.")
@click.option("--epochs", type=click.IntRange(min=1), help="Use only the first epochs.  [default: all complete ones]")
@click.option("--steps-per-epoch", type=click.IntRange(min=1), default=8, help="Where rows name steps, not epochs.")
@click.option("--reading", type=click.Choice([reading.value for reading in Reading]), default="code", help="Of lim.")
@click.option("--round-digits", type=click.IntRange(0, 12), help="Round scores before comparing.  [default: do not]")
@click.option("--param", "parameters", multiple=True, callback=_named_values, metavar="NAME=VALUE",
              help="A parameter of the strategy; may be repeated.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of random.")
@click.option("--prompt-field", default="prompt", help="Field of --dataset with the prompt.")
@click.option("--answer-field", default="answer", help="Field of --dataset with the answer.")
@click.option("--ray", "use_ray", is_flag=True, help="Share the files among the machines of a Ray cluster.")
@click.option("--out", metavar="DIR", required=True, help="Where to write; other files there stay as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def select(
    trajectories: str | None,
    scores: str | None,
    dataset: str | None,
    strategy: str,
    threshold: float | None,
    size: int | None,
    fraction: float | None,
    epochs: int | None,
    steps_per_epoch: int,
    reading: str,
    round_digits: int | None,
    parameters: dict[str, Parameter],
    seed: int,
    prompt_field: str,
    answer_field: str,
    use_ray: bool,
    out: str,
    as_json: bool,
) -> None:
    """Choose the prompts worth training on.

    Writes scores.parquet, subset.parquet, summary.json and, with --dataset, subset.json into DIR, each in one step.
    docs/selection.md says what the scores mean and when not to trust them.
    """
    if trajectories and scores:
        raise click.UsageError("give --trajectories or --scores, not both")
    if size and fraction:
        raise click.UsageError("give --size or --fraction, not both")
    data = read_uri(dataset) if dataset else None
    prompts = datasets.parse(data, str(dataset), prompt_field, answer_field) if data is not None else None
    source: run.Source | None = None
    if trajectories:
        source = read_trajectories(
            trajectories,
            steps_per_epoch=steps_per_epoch,
            epochs=epochs,
            keep_texts=prompts is None,
            summing=_summing(use_ray),
        )
    elif scores:
        source = read_scores(scores)
    choice = Strategy(
        strategy=strategy,
        threshold=threshold,
        reading=Reading(reading),
        round_digits=round_digits,
        parameters=parameters,
    )
    wanted = SubsetSize(count=size, fraction=fraction) if size or fraction else None
    selection = run.select(source, choice, size=wanted, seed=seed, dataset=prompts)
    rendered = output.files(selection, data)
    output.write(rendered, open_store(out))
    if as_json:
        click.echo(json.dumps(selection.summary))
    else:
        click.echo(f"{table(selection.summary)}\n\nwrote {', '.join(rendered)} to {out}")


def _summing(use_ray: bool) -> Summing:
    if not use_ray:
        return summed
    from limr.selection import distributed

    return distributed.summed
