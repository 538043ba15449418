"""`limr completion SHELL`, and what kubectl asks when the tab key is pressed after `kubectl limr`."""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete, get_completion_class

NO_FILES = ":4"  # the directive that kubectl expects on the last line (cobra's ShellCompDirectiveNoFileComp)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands, experiments and stages: source <(limr completion bash)."""
    from limr.cli import COMPLETION, limr

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(limr, {}, "limr", COMPLETION).source())


def for_kubectl() -> None:
    """The program `kubectl_complete-limr`: kubectl gives it the words after `kubectl limr`, the last one to be
    completed, and reads one candidate a line."""
    from limr.cli import limr

    *before, incomplete = sys.argv[1:] or [""]
    for item in ShellComplete(limr, {}, "kubectl limr", "").get_completions(before, incomplete):
        click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(NO_FILES)
