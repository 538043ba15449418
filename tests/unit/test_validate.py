"""`limr validate`: all mistakes at once, none of them invented, each with its path and what to write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from limr.selection import registry
from limr.spec import Experiment, Spec
from limr.validate import InvalidSpec, Mistake, load, load_for_run, resolved
from limr.validate.load import check
from limr.validate.rules import BUILT_IN, STRATEGY_GROUP, BuiltIn

HEAD = "apiVersion: limr.dev/v1alpha1\nkind: LIMRExperiment\nmetadata: {name: demo}\n"
VALID = HEAD + "spec:\n  model: {uri: Qwen/Qwen2.5-Math-7B}\n  dataset: {uri: s3://b/d.json}\n"


def mistakes(text: str, *settings: str) -> list[str]:
    return [str(mistake) for mistake in check(text, settings)[1]]


def with_spec(*lines: str) -> str:
    return VALID + "".join(f"  {line}\n" for line in lines)


def test_a_valid_file_has_none() -> None:
    assert mistakes(VALID) == []
    assert load(VALID).metadata.name == "demo"


def test_every_mistake_at_once() -> None:
    text = with_spec(
        "seed: yes",
        "ppo: {promptsPerStep: 0, prompts_per_step: 5, algorithm: pppo, adamBetas: [0.9, 2], temperature: '1.2'}",
        "selection: {reading: text, strategy: lmi, parameters: {low: [1], high: 1e-3}}",
        "arms:",
        "- {name: lim}",
        "- {name: random, selection: {strategy: random}, seeds: [1, x]}",
        "- {name: lim}",
        "- {name: full, selection: {strategy: full}, size: {count: 3, fraction: 0.1}}",
        "evaluation: {benchmarks: [{name: a, uri: b, samples: 2}]}",
        "cluster: {learner: {replicas: 3}, nodeSelector: {a: b}}",
        "limit: {attempts: 4}",
    )
    assert mistakes(text) == [
        "spec.seed: is true; write a whole number",
        "spec.ppo.algorithm: is 'pppo'; did you mean ppo? Write one of ppo, grpo, rloo",
        "spec.ppo.promptsPerStep: is 0; write at least 1",
        "spec.ppo.temperature: is '1.2'; write a number",
        "spec.ppo.adamBetas[1]: is 2; write at most 1",
        "spec.ppo.prompts_per_step: unknown field; did you mean promptsPerStep?",
        "spec.selection.reading: is 'text'; write one of code, paper, corrected",
        "spec.selection.parameters.low: is a list; write a number, text, true or false",
        "spec.arms[1].seeds[1]: is 'x'; write a whole number",
        "spec.arms[3].size: give exactly one of sameAs, count, fraction",
        "spec.evaluation.benchmarks[0]: temperature 0 (greedy) gives the same response every time; "
        "set samples: 1 or a temperature",
        "spec.cluster.nodeSelector: unknown field; known here: image, imagePullSecrets, driver, learner, rollout, "
        "scratch, modelCache",
        "spec.limit: unknown field; did you mean limits?",
        "spec.arms: 'lim' stands twice; rename one",
        "spec.ppo.trainBatchSize: 256 responses cannot be shared evenly by 3 learners; "
        "write a multiple of cluster.learner.replicas × cluster.learner.gpus (without GPUs, cluster.learner.processes)",
        "spec.selection.strategy: there is no strategy 'lmi'; did you mean lim? Otherwise write one of "
        "lim, linear, random, full, passrate, variance, or install the package that brings it "
        "(entry point limr.strategies)",
        "spec.arms[1].size: is missing, and strategy random has no threshold of its own; write how many prompts it "
        "keeps, for example size: {sameAs: lim}",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # A field that is wrong by itself is put back to its default; rules that join it must not speak of that default.
        (["ppo: {promptsPerStep: x, trainBatchSize: 24}"], ["spec.ppo.promptsPerStep"]),
        (["ppo: {trainBatchSize: 0}", "cluster: {learner: {replicas: 3}}"], ["spec.ppo.trainBatchSize"]),
        (["arms: [{name: Lim}, {name: r, size: {sameAs: lim}}]"], ["spec.arms[0].name"]),
        (["arms: [{nam: lim}, {name: r, size: {sameAs: lim}}]"], ["spec.arms[0].name", "spec.arms[0].nam"]),
        (["training: {steps: 0}", "selection: {scoresFrom: s.json}"], ["spec.training.steps"]),
        (["arms: [{name: r, selection: {strategy: random}, size: {cout: 3}}]"], ["spec.arms[0].size.cout"]),
        (["evaluation: {benchmark: [], everySteps: 3}"], ["spec.evaluation.benchmark"]),
        (["storage: {url: s3://b, endpoint: http://e}"], ["spec.storage.url"]),
        # Two rules of one part are both told.
        (
            ["ppo: {algorithm: rloo, samplesPerPrompt: 1, trainBatchSize: 3}"],
            ["spec.ppo", "spec.ppo"],
        ),
        # What lies in different parts is told together.
        (
            ["ppo: {trainBatchSize: 3}", "arms: [{name: a, seeds: [1, 1]}, {name: b, size: {sameAs: x}}]"],
            ["spec.ppo", "spec.arms[0]", "spec.arms[1].size.sameAs"],
        ),
    ],
)
def test_mistakes_are_neither_missed_nor_invented(lines: list[str], expected: list[str]) -> None:
    assert [mistake.path for mistake in check(with_spec(*lines))[1]] == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("a: [1", "line 1, column 6: not valid YAML"),
        ("a:\n\tb: 1", "line 2, column 1: not valid YAML"),
        ("a: \x00", "line 1: the character #x0000"),
        ("- 1", "the file holds a list"),
        ("hello", "the file holds 'hello'"),
        (VALID + "---\n" + VALID, "several documents"),
        ("&a [*a]", "the file holds a list"),
        ("a: &x [*x]", "Circular reference"),
        ("a: !!binary aGk=", "more than text, numbers"),
        ("a: !!python/object:os.system x", "line 1, column 4: not valid YAML"),
    ],
)
def test_what_is_no_experiment(text: str, words: str) -> None:
    (found,) = mistakes(text)
    assert words in found


def test_duplicate_keys_are_told_with_the_rest() -> None:
    text = VALID + "  seed: 1\n  ppo:\n    seed: 3\n  seed: 2\n"
    assert mistakes(text) == [
        "line 10, column 3: the key 'seed' stands here for the second time (first in line 7); remove one",
        f"spec.ppo.seed: unknown field; known here: {', '.join(known_ppo_fields())}",
    ]


def known_ppo_fields() -> list[str]:
    return list(load(VALID).spec.ppo.model_dump(by_alias=True))


def test_wrong_kind_and_version() -> None:
    assert mistakes(VALID.replace("v1alpha1", "v1").replace("kind: LIMRExperiment\n", "")) == [
        "apiVersion: is 'limr.dev/v1'; write limr.dev/v1alpha1",
        "kind: is missing; write kind: LIMRExperiment",
    ]


def test_missing_parts_say_what_they_need() -> None:
    assert mistakes(HEAD) == ["spec: is missing; write it with model, dataset"]
    assert mistakes(HEAD + "spec: {dataset: {uri: d}}") == ["spec.model: is missing; write it with uri"]
    assert mistakes(HEAD + "spec: 3") == ["spec: is 3; write fields (name: value)"]


@pytest.mark.parametrize("written", ["5e-7", "5.0e-7", "0.0000005", "5E-7", ".5e-6"])
def test_numbers_that_yaml_1_1_takes_for_text(written: str) -> None:
    assert load(with_spec(f"ppo: {{actorLearningRate: {written}}}")).spec.ppo.actor_learning_rate == 5e-7


def test_text_that_yaml_takes_for_something_else() -> None:
    assert mistakes(with_spec("arms: [{name: no}]")) == [
        "spec.arms[0].name: is false; write text in quotes (YAML reads yes, no, on and off as true and false)"
    ]
    assert mistakes(with_spec("schedule: {queue: 12}")) == ["spec.schedule.queue: is 12; write text in quotes: '12'"]
    assert load(with_spec("schedule: {queue: 2026-01-01}")).spec.schedule.queue == "2026-01-01"


def test_set_changes_what_is_checked() -> None:
    settings = ("spec.arms=[{name: a}]", "spec.arms[0].seeds=[1, 2]", "spec.ppo.actorLearningRate=5e-7", "spec.seed=7")
    spec = load(VALID, settings).spec
    assert (spec.arms[0].name, spec.arms[0].seeds, spec.seed) == ("a", [1, 2], 7)
    assert mistakes(VALID, "spec.limits.attempts=0") == ["spec.limits.attempts: is 0; write at least 1"]


def test_set_that_cannot_be_applied() -> None:
    found = mistakes(VALID, "a", "spec.arms[9].x=1", "spec.model.uri.x=3", "spec.seed=[1", "spec.seed=-1")
    assert [text.split(": ")[0] for text in found] == [
        "--set a",
        "--set spec.arms[9].x=1",
        "--set spec.model.uri.x=3",
        "--set spec.seed=[1",
        "spec.seed",
    ]


def test_strategies_of_other_packages_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[limr.strategies]\nmine = package_that_cannot_be_imported:Mine\n")
    text = with_spec("selection: {strategy: mine}")
    assert len(mistakes(text)) == 1
    monkeypatch.syspath_prepend(tmp_path)
    assert mistakes(text) == []


def test_what_is_known_of_our_own_strategies_is_true() -> None:
    for name, strategy in registry.OWN.items():
        assert BUILT_IN[name] == BuiltIn(strategy.needs_trajectories, strategy.ranks_only, tuple(strategy.parameters))
        assert all(isinstance(default, int | float) for default in strategy.parameters.values())
    assert list(BUILT_IN) == list(registry.OWN)
    assert registry.GROUP == STRATEGY_GROUP


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["selection: {strategy: passrate, parameters: {lo: 0.1, high: yes}}"],
            [
                "spec.selection.parameters.lo: strategy passrate has no such parameter; did you mean low?",
                "spec.selection.parameters.high: is true; write a number",
            ],
        ),
        (
            ["selection: {parameters: {low: 0.1}}"],
            ["spec.selection.parameters.low: strategy lim has no such parameter; it has none"],
        ),
        (["arms: [{name: v, selection: {strategy: variance, threshold: 0.1}}]"], []),
        (
            ["arms: [{name: f, selection: {strategy: full}, size: {count: 3}}]"],
            ["spec.arms[0].size: strategy full keeps every prompt; remove size"],
        ),
        (
            [
                "selection: {scoresFrom: s.json}",
                "training: {steps: 1}",
                "arms: [{name: p, selection: {strategy: passrate}}, {name: f, selection: {strategy: full}}]",
            ],
            [
                "spec.arms[0].selection.strategy: passrate needs the trajectories of a probe, but selection.scoresFrom "
                "gives scores of lim and no probe runs; remove scoresFrom or this strategy"
            ],
        ),
        (
            ["evaluation: {protocol: paper, benchmarks: [{name: sums, uri: s.jsonl}]}"],
            [
                "spec.evaluation.protocol: paper sets the sampling of aime24, amc23, math500, but none of these is "
                "the name of a benchmark; name the benchmarks so or remove protocol"
            ],
        ),
    ],
)
def test_arms_that_could_not_choose_their_prompts(lines: list[str], expected: list[str]) -> None:
    assert mistakes(with_spec(*lines)) == expected


def test_one_mistake_is_one_line_and_many_are_a_list() -> None:
    with pytest.raises(InvalidSpec) as one:
        load(with_spec("seed: -1"))
    assert str(one.value) == "the experiment: spec.seed: is -1; write at least 0"
    with pytest.raises(InvalidSpec) as two:
        load(with_spec("seed: -1", "probe: {epochs: 0}"))
    assert str(two.value).splitlines()[0] == "the experiment: 2 mistakes:"
    assert two.value.mistakes[1] == Mistake("spec.probe.epochs", "is 0; write at least 1")


def test_relative_paths() -> None:
    text = with_spec(
        "selection: {scoresFrom: ../scores.json}",
        "training: {steps: 3}",
        "evaluation: {benchmarks: [{name: a, uri: a.jsonl}, {name: b, uri: s3://b/b.jsonl}]}",
    )
    here, work = Path("/home/me/exp"), Path("/elsewhere")
    settings = ("spec.model.uri=./model", "spec.dataset.uri=data/d.json", "spec.storage.uri=runs")
    spec = resolved(load(text, settings), here, work).spec
    assert spec.model.uri == "/home/me/exp/model"
    assert spec.dataset.uri == "/home/me/exp/data/d.json"
    assert spec.selection.scores_from == "/home/me/scores.json"
    assert [benchmark.uri for benchmark in spec.evaluation.benchmarks] == ["/home/me/exp/a.jsonl", "s3://b/b.jsonl"]
    assert spec.storage.uri == "/elsewhere/runs"
    again = resolved(load(text, settings), here, work)
    assert resolved(again, Path("/other"), Path("/other")) == again, "absolute paths stay"


@pytest.mark.parametrize("uri", ["Qwen/Qwen2.5-Math-7B", "gpt2", "s3://bucket/model"])
def test_hub_ids_are_no_paths(uri: str) -> None:
    experiment = load(VALID, [f"spec.model.uri={uri}"])
    assert resolved(experiment, Path("/a"), Path("/b")).spec.model.uri == uri


def test_files_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "d.json").write_text('[{"prompt": "1+1=", "answer": "2"}, {"prompt": "1+2="}]')
    file = tmp_path / "experiment.yaml"
    file.write_text(with_spec("evaluation: {benchmarks: [{name: a, uri: none.jsonl}, {name: b, uri: empty}]}"))
    settings = ("spec.model.uri=./empty", "spec.dataset.uri=d.json")
    with pytest.raises(InvalidSpec) as refused:
        load_for_run(file, settings, tmp_path)
    model, dataset, missing, folder = refused.value.mistakes
    assert (model.path, "config.json" in model.message) == ("spec.model.uri", True)
    assert (dataset.path, "row 2: field 'answer' is missing" in dataset.message) == ("spec.dataset.uri", True)
    assert (missing.path, "there is no file" in missing.message) == ("spec.evaluation.benchmarks[0].uri", True)
    assert (folder.path, "is a directory" in folder.message) == ("spec.evaluation.benchmarks[1].uri", True)


def test_more_prompts_than_the_dataset_has(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('[{"prompt": "1+1=", "answer": "2"}]')
    file = tmp_path / "experiment.yaml"
    file.write_text(with_spec("arms: [{name: a, size: {count: 2}}]"))
    with pytest.raises(InvalidSpec, match=r"spec\.arms\[0\]\.size\.count: is 2, but .* has 1 prompts"):
        load_for_run(file, ["spec.dataset.uri=d.json"], tmp_path)


NAMES = [
    "name",
    "uri",
    "prompt",
    "size",
    "seeds",
    "count",
    "sameAs",
    "selection",
    "strategy",
    "parameters",
    "benchmarks",
    "kind",
]
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from(["", "lim", "a-b", "s3://x", "paper", "wandb"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, "learner", "protocol", "bogus"]), inner, max_size=3)
    ),
    max_leaves=8,
)
parts = st.dictionaries(st.sampled_from([*Spec.model_fields, "bogus"]), plain)


@given(spec=parts)
def test_nothing_makes_it_crash(spec: dict[str, object]) -> None:
    whole = {"model": {"uri": "m"}, "dataset": {"uri": "d"}, **spec}
    head = {"apiVersion": "limr.dev/v1alpha1", "kind": "LIMRExperiment", "metadata": {"name": "demo"}}
    text = yaml.safe_dump({**head, "spec": whole})
    experiment, found = check(text)
    assert experiment, "wrong fields are put back until it is one"
    try:
        Experiment.model_validate_json(json.dumps({**head, "spec": whole}), strict=True, by_alias=True, by_name=False)
    except ValidationError:
        assert found, "what the spec refuses is a mistake"
