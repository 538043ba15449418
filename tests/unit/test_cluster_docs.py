"""The pages about clusters: every reason is explained, every spec on them is valid, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from limr.validate import problems
from limr_operator.objects.overlay import merged

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "charts/limr/README.md"])
SPEC_PAGES = ("gpu-pools.md", "storage.md")
# Where reasons are given: as constants of exceptions, as fields, or as the first word of an observation.
REASON = re.compile(
    r'\breason = "([A-Z]\w+)"|\breason="([A-Z]\w+)"|(?:Finding|Died|Waiting|_Word)\(\s*(?:True, |False, )?"([A-Z]\w+)"'
)

EXPERIMENT = {
    "apiVersion": "limr.dev/v1alpha1",
    "kind": "LIMRExperiment",
    "metadata": {"name": "demo"},
    "spec": {"model": {"uri": "/m"}, "dataset": {"uri": "s3://b/d.json"}, "storage": {"uri": "s3://b/e"}},
}


def reasons() -> set[str]:
    texts = (
        file.read_text("utf-8") for folder in ("trainer/limr", "operator") for file in (ROOT / folder).rglob("*.py")
    )
    return {next(filter(None, groups)) for text in texts for groups in REASON.findall(text)}


def test_every_reason_is_explained() -> None:
    pages = "".join((DOCS / page).read_text("utf-8") for page in ("troubleshooting.md", "resource.md"))
    found = reasons()
    assert {"Unschedulable", "QueueMissing", "HeadLost", "ProcessLost", "DeadlineExceeded", "QueuePending"} <= found
    assert not [reason for reason in sorted(found) if f"`{reason}`" not in pages]


def test_specs_on_the_pages_are_valid() -> None:
    checked = 0
    for page in SPEC_PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text("utf-8"), re.S):
            spec = yaml.safe_load(block)
            if "apiVersion" in spec:
                continue  # another kind of object
            parts = spec if spec.keys() & {"cluster", "storage", "schedule"} else {"cluster": spec}
            assert problems(merged(EXPERIMENT, {"spec": parts})) == [], block
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_oldest_driver_is_that_of_the_cuda_that_images_have() -> None:
    """https://docs.nvidia.com/deploy/cuda-compatibility: CUDA 13.x runs on drivers from 580 on."""
    pins = (ROOT / "requirements/trainer-gpu.txt").read_text("utf-8")
    (version,) = re.findall(r"^nvidia-cuda-runtime==(\d+\.\d+)\.", pins, re.MULTILINE)
    assert version.split(".")[0] == "13"
    page = (DOCS / "gpu-pools.md").read_text("utf-8")
    assert f"built for CUDA {version}. Nodes need NVIDIA driver **580** or newer" in page
