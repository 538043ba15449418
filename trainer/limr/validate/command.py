"""`limr validate FILE`: every mistake at once, and what the experiment would do."""

from __future__ import annotations

from pathlib import Path

import click

from limr.plan import graph
from limr.validate.load import load, load_for_run
from limr.validate.options import file_argument, set_option


@click.command()
@file_argument
@set_option
@click.option("--no-files", is_flag=True, help="Do not look for the files it names: they are on another machine.")
def validate(file: Path, overrides: tuple[str, ...], no_files: bool) -> None:
    """Check an experiment's file and list every mistake in it."""
    experiment = load(file, overrides) if no_files else load_for_run(file, overrides, Path("."))
    stages = ", ".join(stage.name for stage in graph(experiment))
    click.echo(f"{file}: {experiment.metadata.name} is valid; its stages: {stages}")
