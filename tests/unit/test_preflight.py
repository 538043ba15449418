"""The preflight, on the demo's real model, prompts and questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engines import ARITHMETIC, MODEL

from limr.errors import LimrError
from limr.preflight import run_stage
from limr.spec import Experiment
from limr.stage import StageInput, StageKind, StageRef
from limr.store import open_store

SPEC: dict[str, Any] = {
    "model": {"uri": str(MODEL), "dtype": "float32"},
    "dataset": {"uri": str(ARITHMETIC / "dataset.jsonl")},
    "evaluation": {"benchmarks": [{"name": "sums", "uri": str(ARITHMETIC / "benchmark.jsonl"), "limit": 40}]},
}


def preflight(folder: Path, **spec: Any) -> dict[str, Any]:
    experiment = Experiment.model_validate({"metadata": {"name": "demo"}, "spec": {**SPEC, **spec}})
    stage = StageRef(name="preflight", kind=StageKind.PREFLIGHT)
    outputs = run_stage(
        StageInput(experiment=experiment, stage=stage, attempt=1, root=str(folder)), open_store(str(folder), None)
    )
    summary: dict[str, Any] = json.loads(Path(outputs["summary"].uri).read_text())
    return summary


def test_it_counts_what_there_is(tmp_path: Path) -> None:
    summary = preflight(tmp_path)
    assert (summary["prompts"], summary["questions"]) == (384, {"sums": 40})
    assert 0 < summary["longestPromptTokens"] <= 16


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"model": {"uri": "/nowhere"}}, r"^spec\.model\.uri: no tokenizer could be loaded from the hub id '/nowhere'"),
        ({"dataset": {"uri": str(ARITHMETIC / "dataset.jsonl"), "answerField": "solution"}}, "field 'solution'"),
        ({"ppo": {"maxPromptTokens": 3}}, r"longer than spec\.ppo\.maxPromptTokens = 3: row 1 "),
        ({"reward": {"function": "no_such_package:grade"}}, "no_such_package"),
        ({"evaluation": {"benchmarks": [{"name": "b", "uri": "/nowhere.jsonl"}]}}, r"/nowhere\.jsonl"),
    ],
)
def test_it_refuses_what_a_later_stage_would(tmp_path: Path, spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LimrError, match=sentence) as refusal:
        preflight(tmp_path, **spec)
    assert refusal.value.reason == "BadInput", "which is not tried again"
