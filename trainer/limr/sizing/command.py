"""`limr plan FILE`: what an experiment needs of its GPUs, before any is claimed."""

from __future__ import annotations

from pathlib import Path

import click

from limr.sizing.findings import Severity, find
from limr.sizing.plan import make_plan
from limr.sizing.sources import read_architecture
from limr.sizing.table import lines
from limr.topology import DeviceKind, asked_kind
from limr.validate import load, resolved
from limr.validate.options import file_argument, set_option


@click.command()
@file_argument
@set_option
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The model's config.json, where the model itself is out of reach.",
)
@click.option("--cpu", is_flag=True, help="Plan for a machine without GPUs, as `limr run` would use it.")
def plan(file: Path, overrides: tuple[str, ...], config: Path | None, cpu: bool) -> None:
    """Print the memory and time that an experiment needs. Exit status 1: it does not fit."""
    spec = resolved(load(file, overrides), file.absolute().parent, Path.cwd()).spec
    model = read_architecture(spec, config)
    resources = make_plan(spec, model, DeviceKind.CPU if cpu else asked_kind(spec.cluster))
    findings = find(spec, resources)
    for line in lines(spec, resources, findings):
        click.echo(line)
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise click.exceptions.Exit(1)
