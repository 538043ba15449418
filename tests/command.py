"""Programs that do something for the tests, as functions."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

LAST_WORDS = 3000  # characters


class CommandFailed(RuntimeError):
    """The program ended with an error; the message is its last words."""


def output_of(
    command: Sequence[str | Path],
    *,
    seconds: float,
    stdin: IO[bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """What it printed. Raises CommandFailed, or TimeoutExpired after so many seconds."""
    done = subprocess.run(
        command, stdin=stdin, cwd=cwd, env=env, capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-LAST_WORDS:]
        name, *arguments = map(str, command)
        raise CommandFailed(f"`{' '.join([Path(name).name, *arguments])}` failed:\n{said}")
    return done.stdout
