"""The `limr` command. Each subcommand lives with its feature and is imported when it is called."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from limr.errors import LimrError

# name -> (where the command is, its line in `limr --help`, which must not import it)
COMMANDS = {
    "validate": ("limr.validate.command:validate", "Check an experiment's file and list every mistake in it."),
    "plan": ("limr.sizing.command:plan", "Print the memory and time that an experiment needs of its GPUs."),
    "run": ("limr.local.command:run", "Run an experiment on this machine, or go on where it stopped."),
    "select": ("limr.selection.command:select", "Choose prompts from trajectories or scores one already has."),
    "grade": ("limr.reward.command:grade", "Grade responses in a JSONL file."),
    "track": ("limr.tracking.command:track", "Send trackers the steps of finished stages that they have missed."),
    "status": ("limr.kubectl.status:status", "Show where an experiment on a cluster stands."),
    "logs": ("limr.kubectl.logs:logs", "Print the log of a stage on a cluster."),
    "report": ("limr.kubectl.report:report", "Open the report of an experiment on a cluster."),
    "compare": ("limr.kubectl.compare:compare", "Compare two experiments on a cluster."),
    "suspend": ("limr.kubectl.schedule:suspend", "Stop an experiment on a cluster, with checkpoints."),
    "resume": ("limr.kubectl.schedule:resume", "Let a suspended experiment on a cluster go on."),
    "retry": ("limr.kubectl.retry:retry", "Try failed stages of an experiment on a cluster again."),
    "completion": ("limr.kubectl.completion:completion", "Print a script for the shell's tab key."),
    "crd": ("limr.crd.command:crd", "Print the CustomResourceDefinition of LIMRExperiment."),
    "version": ("limr.cli:version", "Say which version of limr this is."),
}


COMPLETION = "_LIMR_COMPLETE"  # variable by which the shell asks for completions


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without importing the commands."""
        return [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]

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
    called = "kubectl limr" if Path(sys.argv[0]).name == "kubectl-limr" else "limr"
    try:
        limr.main(prog_name=called, complete_var=COMPLETION)
    except LimrError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "limr":
            raise
        _fail(f"this command needs {error.name}; install limr[tools] (or a trainer extra)")


def _fail(sentence: str) -> NoReturn:
    click.echo(f"limr: {sentence}", err=True)
    sys.exit(1)
