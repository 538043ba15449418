"""`python -m chart.readme`: writes the chart's README from its template and the comments in values.yaml."""

from __future__ import annotations

import subprocess

from servers.go_program import GoProgram

from chart.helm import CHART

HELM_DOCS = GoProgram("helm-docs", "github.com/norwoodj/helm-docs/cmd/helm-docs", "v1.14.2")
README = CHART / "README.md"
SECONDS = 60.0


def text() -> str:
    done = subprocess.run(
        [HELM_DOCS.binary(), "--dry-run", "--sort-values-order", "file", "--log-level", "warning"],
        cwd=CHART,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode or done.stderr:
        raise RuntimeError(f"helm-docs: {done.stderr.strip()}")
    return done.stdout.rstrip("\n") + "\n"


if __name__ == "__main__":
    README.write_text(text(), encoding="utf-8")
