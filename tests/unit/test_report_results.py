"""results.json from the files of a whole experiment, and from experiments that lack some of its stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_experiment import SPEC, FakeExperiment

from limr.errors import LimrError
from limr.report.reading import read
from limr.report.results import build
from limr.report.schema import AVERAGE, Results, Row, Verdict
from limr.report.stage import run_stage
from limr.stage import StageKind
from limr.statistics import Answers, pass_at_1
from limr.store.digest import of_bytes


def results_of(experiment: FakeExperiment) -> Results:
    return build(read(experiment.stage_input()), {"limr": "0"})


def spec(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(SPEC)), **changes}


def row(results: Results, name: str) -> Row:
    return next(row for row in results.table if row.name == name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> FakeExperiment:
    return FakeExperiment(tmp_path_factory.mktemp("store"), warnings=("never-solved prompts were selected",)).run_all()


def test_the_stage_writes_both_files_with_their_digests(whole: FakeExperiment) -> None:
    outputs = run_stage(whole.stage_input(), whole.store)
    for name, path in (("results", "report/results.json"), ("page", "report/index.html")):
        assert outputs[name].uri == f"{whole.store.uri}/{path}"
        assert outputs[name].digest == of_bytes(whole.store.get(path))
    assert Results.model_validate_json(whole.store.get("report/results.json")).name == "demo"


def test_running_the_stage_again_gives_the_same_bytes(whole: FakeExperiment) -> None:
    assert run_stage(whole.stage_input(), whole.store) == run_stage(whole.stage_input(), whole.store)


def test_results_survive_json(whole: FakeExperiment) -> None:
    results = results_of(whole)
    assert Results.model_validate_json(results.to_json()) == results


def test_table_has_base_then_arms_in_order(whole: FakeExperiment) -> None:
    results = results_of(whole)
    assert [(r.name, r.strategy, r.seeds) for r in results.table] == [
        ("base", None, []),
        ("lim", "lim", [1]),
        ("random", "random", [1, 2, 3]),
        ("full", "full", [1]),
    ]
    assert row(results, "full").prompts == whole.prompts
    assert row(results, "random").prompts == row(results, "lim").prompts
    assert [r.covers_seeds for r in results.table] == [True, False, True, False]


def test_accuracy_is_that_of_the_answers(whole: FakeExperiment) -> None:
    models = json.loads(whole.store.get("evaluate/results.json"))["models"]
    correct = [model["benchmarks"]["sums"]["correct"] for model in models if model["arm"] == "random"]
    assert row(results_of(whole), "random").benchmarks["sums"] == pass_at_1(Answers([np.mean(correct, axis=2)]))


def test_costs_are_of_one_training_with_and_without_the_probe(whole: FakeExperiment) -> None:
    results = results_of(whole)
    lim, random = row(results, "lim"), row(results, "random")
    probe = next(stage.ledger for stage in results.stages if stage.kind is StageKind.PROBE)
    assert lim.rollouts == random.rollouts == 40 * 512
    assert probe is not None
    assert lim.rollouts_with_probe == 40 * 512 + probe.rollouts
    assert random.rollouts_with_probe == random.rollouts
    assert lim.device_hours == pytest.approx(40 * 2.9 / 3600)
    assert lim.device_hours_with_probe == pytest.approx((40 * 2.9 + probe.device_seconds) / 3600)


def test_differences_are_between_what_was_scored_and_the_rest(whole: FakeExperiment) -> None:
    results = results_of(whole)
    pairs = list(dict.fromkeys((found.first, found.second) for found in results.differences))
    assert pairs == [("lim", "random"), ("lim", "full"), ("lim", "base"), ("random", "base"), ("full", "base")]
    assert {found.benchmark for found in results.differences} == {"sums", "carry", AVERAGE}
    for found in results.differences:
        ours, theirs = row(results, found.first), row(results, found.second)
        if found.benchmark != AVERAGE:
            gap = ours.benchmarks[found.benchmark].mean - theirs.benchmarks[found.benchmark].mean
            assert found.interval.mean == pytest.approx(gap)
        assert (found.verdict is Verdict.OPEN) == (found.interval.low <= 0 <= found.interval.high)


def test_metrics_that_are_not_finite_are_unknown(whole: FakeExperiment) -> None:
    probe = results_of(whole).stages[0]
    assert probe.series["ratio_max"][2:5] == [1.2, None, 1.2]
    assert probe.series["step"] == list(range(1, 97))
    assert probe.series["eval_sums"][:10] == [None] * 9 + [pytest.approx(0.4 + 0.5 * 9 / 96)]


def test_seconds_of_a_step_add_up(whole: FakeExperiment) -> None:
    stage = results_of(whole).stages[0]
    assert sum(stage.seconds.values()) == pytest.approx(np.mean(stage.series["seconds_step"]), rel=1e-6)
    assert set(stage.seconds) >= {"generation", "training", "other"}


def test_warnings_name_their_arms(whole: FakeExperiment) -> None:
    assert results_of(whole).warnings == ["lim: never-solved prompts were selected"]


def test_every_output_is_in_the_provenance(whole: FakeExperiment) -> None:
    found = {(artifact.stage, artifact.output) for artifact in results_of(whole).provenance.artifacts}
    assert found >= {
        ("probe", "manifest"),
        ("select-lim", "subset"),
        ("train-random-s3", "manifest"),
        ("evaluate", "results"),
    }


def test_without_a_probe(tmp_path: Path) -> None:
    experiment = FakeExperiment(tmp_path, spec(selection={"scoresFrom": "s3://b/scores.json"}, training={"steps": 40}))
    results = results_of(experiment.run_all())
    assert results.probe is None
    assert row(results, "lim").rollouts_with_probe is None
    assert row(results, "random").rollouts_with_probe == row(results, "random").rollouts
    assert results.selections[0].histogram is not None
    assert all(example.group is None for example in results.selections[0].examples)


def test_without_benchmarks(tmp_path: Path) -> None:
    results = results_of(FakeExperiment(tmp_path, spec(evaluation={})).run_all())
    assert [r.name for r in results.table] == ["lim", "random", "full"]
    assert results.differences == []
    assert "No benchmark was evaluated" in results.headline


def test_an_arm_that_reuses_the_probe(tmp_path: Path) -> None:
    arms = [{"name": "lim", "seeds": [1, 2]}, {"name": "full", "reuseProbe": True}]
    results = results_of(FakeExperiment(tmp_path, spec(arms=arms)).run_all())
    full = row(results, "full")
    assert (full.strategy, full.prompts, full.seeds) == ("full", 512, [1])
    assert full.rollouts == full.rollouts_with_probe == results.stages[0].ledger.rollouts  # type: ignore[union-attr]
    assert full.benchmarks


def test_one_benchmark_needs_no_average(tmp_path: Path) -> None:
    benchmarks = {"benchmarks": SPEC["evaluation"]["benchmarks"][:1]}
    results = results_of(FakeExperiment(tmp_path, spec(evaluation=benchmarks)).run_all())
    assert all(r.average is None for r in results.table)
    assert {found.benchmark for found in results.differences} == {"sums"}


def test_what_the_selection_stage_writes_is_understood(tmp_path: Path) -> None:
    experiment = FakeExperiment(tmp_path, spec(evaluation={})).run_selections()
    results = results_of(experiment)
    lim, random, full = results.selections
    assert results.probe is not None
    assert (results.probe.epochs, results.probe.prompts) == (12, 512)
    assert sum(results.probe.groups.values()) == 512
    assert (lim.strategy, lim.reading, lim.threshold, lim.scored, lim.dropped) == ("lim", "code", 0.6, 512, 0)
    assert lim.histogram is not None
    assert sum(lim.histogram.kept) == lim.selected == random.selected
    assert lim.never_solved_selected == 0
    assert lim.stability is not None
    assert {example.prompt for example in lim.examples} <= set(experiment.texts)
    assert (random.histogram, full.histogram, full.selected) == (None, None, 512)
    assert row(results, "lim").prompts == lim.selected


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    experiment = FakeExperiment(tmp_path).run_all()
    experiment.store.delete("train-lim-s1/manifest.json")
    with pytest.raises(LimrError, match=r"train-lim-s1/manifest\.json"):
        read(experiment.stage_input())
