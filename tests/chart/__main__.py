"""`python -m chart`: has Helm, kubeconform, helm-docs and Prometheus ready for the tests, whose time is limited."""

from __future__ import annotations

from cluster import packages
from cluster.binaries import CHART_TOOLS, PROMETHEUS_OPERATOR

from chart.readme import HELM_DOCS

if __name__ == "__main__":
    for program in (*CHART_TOOLS, HELM_DOCS):
        print(program.binary())
    print(PROMETHEUS_OPERATOR.source())
    packages.install_missing(packages.MONITORING)
