"""`limr report NAME`: the report of an experiment, brought from its bucket and opened in the browser."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

import click

from limr.errors import LimrError
from limr.kubectl.access import Cluster
from limr.kubectl.artifacts import opened
from limr.kubectl.experiments import Experiment, find
from limr.kubectl.options import cluster_options, name_argument

STAGE, PAGE = "report", "page"


@click.command()
@name_argument
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Default: a new one.")
@click.option("--no-open", is_flag=True, help="Do not open it in the browser.")
@cluster_options
def report(cluster: Cluster, name: str, output: Path | None, no_open: bool) -> None:
    """Fetch the report of an experiment that is complete, and open it in the browser.

    With the credentials of the environment (AWS_ACCESS_KEY_ID or AWS_PROFILE), else of the Secret that the spec names.
    """
    experiment = find(cluster, name)
    with opened(cluster, experiment) as artifacts:
        page = artifacts.read(STAGE, PAGE)
    file = _written(page, output or _new_file(experiment))
    click.echo(file)
    if not no_open and not webbrowser.open(file.as_uri()):
        click.echo("no browser was found; open the file yourself", err=True)


def _new_file(experiment: Experiment) -> Path:
    """One that stays: the browser reads it later."""
    return Path(tempfile.mkdtemp(prefix="limr-")) / f"{experiment.namespace}-{experiment.name}.html"


def _written(page: bytes, file: Path) -> Path:
    try:
        file.write_bytes(page)
    except OSError as error:
        raise LimrError(f"{file}: cannot be written ({error.strerror}); give another --output") from None
    return file.resolve()
