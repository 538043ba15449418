"""`python -m chart`: builds Helm, kubeconform and helm-docs ahead of the tests, whose time is limited."""

from __future__ import annotations

from cluster.binaries import CHART_TOOLS

from chart.readme import HELM_DOCS

if __name__ == "__main__":
    for program in (*CHART_TOOLS, HELM_DOCS):
        print(program.binary())
