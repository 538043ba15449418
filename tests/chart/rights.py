"""What the chart's README says that the operator may do, and what the API server says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from cluster.kubectl import Kubectl

from chart.readme import README

LINE = re.compile(r"^(?P<resource>\S*)\s+\[(?P<urls>.*?)\]\s+\[(?P<names>.*?)\]\s+\[(?P<verbs>.*?)\]$")


class Right(NamedTuple):
    resource: str
    name: str  # "" for all
    verb: str


def documented(places: Iterable[str]) -> set[Right]:
    """Of the README's table, the rows for these places: work, own, cluster."""
    found = set()
    for line in README.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[3] in places:
            resource, name, verbs = cells[0].strip("`"), cells[1], cells[2]
            found |= {Right(resource, name, verb) for verb in verbs.split(", ")}
    return found


def granted(kubectl: Kubectl, namespace: str, account: str, account_namespace: str) -> set[Right]:
    """What the ServiceAccount may do in `namespace` beyond what any other may."""
    everyone = _listed(kubectl, namespace, f"system:serviceaccount:{account_namespace}:nobody-in-particular")
    return _listed(kubectl, namespace, f"system:serviceaccount:{account_namespace}:{account}") - everyone


def _listed(kubectl: Kubectl, namespace: str, user: str) -> set[Right]:
    lines = kubectl("auth", "can-i", "--list", "-n", namespace, f"--as={user}").splitlines()[1:]
    return {right for line in lines for right in _rights(line)}


def _rights(line: str) -> Iterable[Right]:
    found = LINE.match(line.rstrip())
    if found is None:
        raise ValueError(f"kubectl auth can-i --list printed a line that the test cannot read: {line!r}")
    for verb in found["verbs"].split():
        for name in found["names"].split() or [""]:
            yield Right(found["resource"] or found["urls"], name, verb)
