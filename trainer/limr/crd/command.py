"""`limr crd`: the CustomResourceDefinition as YAML."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from limr.crd.definition import definition
from limr.errors import LimrError


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
def crd(output: Path | None) -> None:
    """Print the CustomResourceDefinition of LIMRExperiment."""
    if output is None:
        click.echo(text(), nl=False)
        return
    try:
        output.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise LimrError(f"{output}: cannot be written ({error.strerror}); give a path in a folder of yours") from None


def text() -> str:
    return "# Made by `limr crd`; do not edit by hand.\n" + yaml.dump(
        definition(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120
    )


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """Kubernetes' tools read no anchors in lists of rules that look the same."""
        return True
