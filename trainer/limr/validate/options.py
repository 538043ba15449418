"""What the commands that read an experiment's file have in common."""

from __future__ import annotations

from pathlib import Path

import click

file_argument = click.argument("file", type=click.Path(path_type=Path))
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a field, for example spec.ppo.promptsPerStep=32 or spec.arms[0].seeds=[1,2]. Can be repeated.",
)
workdir_option = click.option(
    "--workdir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    help="Folder that a relative storage.uri starts from. Default: the current one.",
)
