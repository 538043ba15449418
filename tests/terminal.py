"""A real terminal: what a person sees there of a command."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.daemons import wait_until
from cluster.packages import program
from command import output_of

COLUMNS, LINES = 80, 30
SECONDS = 120
CALL_SECONDS = 10
ENDED = "(it ended)"


def screen(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The lines that tmux shows once the command has ended, but for empty ones below. `folder` keeps a socket."""

    def tmux(*arguments: str) -> str:
        call = [program("tmux"), "-u", "-f", os.devnull, "-S", str(folder / "tmux"), *arguments]
        return output_of(call, seconds=CALL_SECONDS, env={**environment, "TERM": "screen-256color"})

    line = f"{shlex.join(map(str, command))}; echo {shlex.quote(ENDED)}; read forever"
    tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), line)
    try:
        wait_until(lambda: ENDED in tmux("capture-pane", "-p"), "the end of the command", SECONDS)
        joined = tmux("capture-pane", "-p", "-J")  # what was too wide is one line again, as the command wrote it
        return [line.rstrip() for line in joined.partition(ENDED)[0].rstrip().splitlines()]
    finally:
        tmux("kill-server")
