"""The `limr` command. Each subcommand lives with its feature and is imported when it is called."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version as installed_version

import click

from limr.errors import LimrError

# name -> (where the command is, its line in `limr --help`, which must not import it)
COMMANDS = {
    "validate": ("limr.validate.command:validate", "Check an experiment's file and list every mistake in it."),
    "run": ("limr.local.command:run", "Run an experiment on this machine, or go on where it stopped."),
    "select": ("limr.selection.command:select", "Choose prompts from trajectories or scores one already has."),
    "grade": ("limr.reward.command:grade", "Grade responses in a JSONL file."),
    "crd": ("limr.crd.command:crd", "Print the CustomResourceDefinition of LIMRExperiment."),
    "version": ("limr.cli:version", "Say which version of limr this is."),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command = getattr(_imported(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup)
def limr() -> None:
    """Measure each prompt's learning impact, train on the prompts worth it, prove the gain."""


@click.command()
def version() -> None:
    """Say which version of limr this is."""
    click.echo(f"limr {installed_version('limr')}")


def main() -> None:
    """Exit status 1 with one sentence for what a person can mend, 2 for a wrong call."""
    try:
        limr.main(prog_name="limr")
    except LimrError as error:
        click.echo(f"limr: {error}", err=True)
        sys.exit(1)


def _imported(module: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "limr":
            raise
        raise LimrError(f"this command needs {error.name}; install limr[tools] (or a trainer extra)") from error
