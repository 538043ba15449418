"""Merges a person's amendments over a Pod template, by the rules of a strategic merge patch.

Maps are merged, null removes, lists are replaced, except lists whose entries have a key of their own: there, entries
with the same key are merged and others are added.
"""

from __future__ import annotations

from typing import Any

# https://kubernetes.io/docs/reference/generated/kubernetes-api/: "patch merge key" of Pod templates' lists
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
}


def merged(base: Any, amendment: Any, field: str = "") -> Any:
    """`base` with `amendment` over it; neither is changed."""
    if isinstance(base, dict) and isinstance(amendment, dict):
        result = {key: value for key, value in base.items() if amendment.get(key, value) is not None}
        for key, value in amendment.items():
            if value is not None:
                result[key] = merged(result.get(key), value, key)
        return result
    key = MERGE_KEYS.get(field)
    if key and isinstance(base, list) and isinstance(amendment, list):
        return _merged_by_key(base, amendment, key)
    return amendment


def _merged_by_key(base: list[Any], amendment: list[Any], key: str) -> list[Any]:
    amended = {entry.get(key): entry for entry in amendment}
    kept = [merged(entry, amended.pop(entry.get(key), {})) for entry in base]
    return kept + list(amended.values())
