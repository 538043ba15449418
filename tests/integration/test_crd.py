"""The CustomResourceDefinition on a real API server: what it refuses, what it stores, what kubectl shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import experiment_specs
import pytest
import yaml
from cluster.control_plane import ControlPlane
from custom_resource import Experiments, Refused
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError
from wrong_specs import VALID, WRONG_SPECS, WrongSpec, merged

from limr.plan import Condition, Phase, StageState, StageStatus, Status, immutable_changes, with_columns
from limr.spec import Experiment
from limr.stage import ArmResult, Interval, Ledger, Output, Progress, Selected, StageKind
from limr.validate import from_manifest, load, problems
from limr.validate.rules import rules

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CRD = ROOT / "charts/limr/files/crd.yaml"
EXAMPLES = sorted(ROOT.glob("examples/*/experiment.yaml"))
STARTED = {"phase": "Running", "stages": {"probe": {"kind": "Probe", "state": "Running", "attempt": 1}}}

# Every example is one call of some milliseconds; one server serves them all.
bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), crds=[CRD]) as plane:
        yield plane


@pytest.fixture(scope="module")
def experiments(plane: ControlPlane) -> Experiments:
    return Experiments(plane.kubeconfig)


@pytest.fixture(scope="module")
def started(experiments: Experiments) -> dict[str, Any]:
    """The valid spec, applied under another name and begun."""
    experiments.apply(named(VALID, "begun"))
    return experiments.apply_status("begun", STARTED)


def cluster_fit(file: Path) -> dict[str, Any]:
    """An example with its relative paths on a mounted volume, as its README would have one write it."""
    manifest: dict[str, Any] = yaml.safe_load(re.sub(r"(uri|scoresFrom): \./", r"\1: /data/", file.read_text("utf-8")))
    return merged({"spec": {"storage": {"uri": "s3://rl/experiments"}}}, manifest)


def named(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    return merged(manifest, {"metadata": {"name": name}})


@pytest.mark.parametrize(
    "wrong", [wrong for wrong in WRONG_SPECS if wrong.refused_by == "apply"], ids=lambda wrong: wrong.name
)
def test_refused_at_apply(wrong: WrongSpec, experiments: Experiments) -> None:
    with pytest.raises(Refused) as refused:
        experiments.apply(wrong.manifest, dry_run=True)
    assert wrong.says in str(refused.value)


@pytest.mark.parametrize(
    "wrong", [wrong for wrong in WRONG_SPECS if wrong.refused_by == "condition"], ids=lambda wrong: wrong.name
)
def test_left_to_the_operator(wrong: WrongSpec, experiments: Experiments) -> None:
    stored = experiments.apply(wrong.manifest, dry_run=True)
    assert wrong.says in "\n".join(problems(stored))


def test_misspelt_fields_are_named_by_kubectl(plane: ControlPlane) -> None:
    wrong = json.dumps(merged(VALID, {"spec": {"ppo": {"promptPerStep": 64}}}))
    for how in ([], ["--server-side"]):
        assert "promptPerStep" in plane.kubectl.run("apply", *how, "--dry-run=server", "-f", "-", stdin=wrong).stderr


@pytest.mark.parametrize("how", ["--server-side=true", "--server-side=false"])
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_examples_are_stored_as_they_are_read(file: Path, how: str, plane: ControlPlane) -> None:
    manifest = cluster_fit(file)
    text = yaml.safe_dump(manifest)
    plane.kubectl("apply", how, "--validate=strict", "-f", "-", stdin=text)
    stored = plane.kubectl.get("limr", manifest["metadata"]["name"])
    plane.kubectl("delete", "limr", manifest["metadata"]["name"])
    assert from_manifest(stored).spec == load(text).spec


def test_yaml_numbers_are_kubectls_numbers(plane: ControlPlane) -> None:
    text = yaml.safe_dump(named(VALID, "numbers")) + "  ppo: {actorLearningRate: 5e-7, topP: 1, rewardClip: 10}\n"
    plane.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=text)
    assert from_manifest(plane.kubectl.get("limr", "numbers")).spec == load(text).spec


@bounded
@given(spec=experiment_specs.specs())
def test_server_and_laptop_agree(spec: dict[str, Any], experiments: Experiments) -> None:
    """Both refuse with the same sentences, or both read the same experiment."""
    manifest = {**VALID, "spec": spec}
    wanted, broken = verdict(manifest)
    if wanted:
        assert read(experiments.apply(manifest, dry_run=True)).spec == wanted.spec
        return
    with pytest.raises(Refused) as refused:
        experiments.apply(manifest, dry_run=True)
    said = " | ".join(map(plain, refused.value.sentences))
    assert all(plain(sentence) in said for sentence in broken)


def verdict(manifest: dict[str, Any]) -> tuple[Experiment | None, list[str]]:
    """A laptop's: the experiment, or the sentences of the spec's broken rules."""
    try:
        experiment = read(manifest)
    except ValidationError as invalid:
        return None, sentences(invalid)
    fits = all("has no such parameter" in broken for broken in rules(experiment))  # which CEL cannot see
    return experiment if fits else None, []


def read(manifest: dict[str, Any]) -> Experiment:
    given = {name: value for name, value in manifest.items() if name != "status"}
    return Experiment.model_validate_json(json.dumps(given), strict=True, by_alias=True, by_name=False)


def sentences(invalid: ValidationError) -> list[str]:
    """Of broken rules, without the paths that those of several parts begin with."""
    lines = [line for error in invalid.errors() for line in str(error["ctx"]["error"]).splitlines()]
    return [re.sub(r"^[a-z]\w*(\[\d+\])?(\.\w+)*: ", "", line) for line in lines]


def plain(sentence: str) -> str:
    """Without names: CEL tells one arm where the laptop tells all, and no other names to choose from."""
    return re.sub(r"'[^']*'", "…", sentence.partition(", or write one of")[0])


@bounded
@given(changes=experiment_specs.changes())
def test_what_has_begun_may_only_change_so(
    changes: dict[str, Any], started: dict[str, Any], experiments: Experiments
) -> None:
    manifest = named(merged(VALID, {"spec": changes}), "begun")
    forbidden = {_field(path) for path in immutable_changes(read(started), read(manifest))}
    if "spec.evaluation.protocol" in forbidden:
        forbidden.discard("spec.evaluation.benchmarks")  # filled in from the protocol, which the server does not do
    if not forbidden:
        assert read(experiments.apply(manifest, dry_run=True)).spec == read(manifest).spec
        return
    with pytest.raises(Refused) as refused:
        experiments.apply(manifest, dry_run=True)
    (sentence,) = refused.value.sentences
    fields, words, _ = sentence.partition(" are fixed once the experiment has started")
    assert words
    assert set(re.findall(r'"(spec\..+?)"', fields)) == forbidden


def _field(path: str) -> str:
    """CEL cannot see a strategy's parameters, so that the selection is compared as a whole."""
    return "spec.selection" if path.startswith("spec.selection.") else path


def test_before_it_has_begun_everything_may_change(experiments: Experiments) -> None:
    manifest = named(VALID, "early")
    experiments.apply(manifest)
    pending = {"phase": "Pending", "stages": {"probe": {"kind": "Probe", "attempt": 0}}}
    experiments.apply_status("early", pending)
    changed = merged(manifest, {"spec": {"seed": 7, "ppo": {"valueClip": None}, "arms": [{"name": "other"}]}})
    assert read(experiments.apply(changed)).spec == read(changed).spec


@pytest.mark.parametrize(
    ("how", "none"),
    [("--server-side=true", (None, None)), ("--server-side=true", (0, [])), ("--server-side=false", (0, []))],
)
def test_no_clip_survives_later_changes(how: str, none: Any, plane: ControlPlane, experiments: Experiments) -> None:
    """Its spec is equal to itself, and suspending it does not bring the default back."""
    manifest = named(merged(VALID, {"spec": {"ppo": {"valueClip": none[0], "importanceClip": none[1]}}}), "unclipped")
    apply = ("apply", how, "--validate=strict", "-f", "-")
    plane.kubectl(*apply, stdin=json.dumps(manifest))
    experiments.apply_status("unclipped", STARTED)
    plane.kubectl(*apply, stdin=json.dumps(merged(manifest, {"spec": {"schedule": {"suspend": True}}})))
    stored = experiments.get("unclipped")
    experiments.delete("unclipped")
    assert problems(stored) == []
    assert read(stored).spec.schedule.suspend
    assert (read(stored).spec.ppo.value_clip, read(stored).spec.ppo.importance_clip) == (None, None)


def test_a_null_that_kubectl_drops_is_told(plane: ControlPlane) -> None:
    manifest = named(merged(VALID, {"spec": {"ppo": {"valueClip": None}}}), "null")
    plane.kubectl("apply", "--validate=strict", "-f", "-", stdin=json.dumps(manifest))
    (problem,) = problems(plane.kubectl.get("limr", "null"))
    assert "write 0 for none" in problem


def status() -> Status:
    """One with every field set."""
    when = experiment_specs.NOW
    ledger = Ledger(rollouts=1, prompt_tokens=2, response_tokens=3, device_seconds=44444.5)
    step = Progress(updated_at=1.5, step=12, steps=160, message="m", reward_mean=0.25, ledger=ledger)
    probe = StageStatus(
        kind=StageKind.PROBE, state=StageState.RUNNING, attempt=2, charged_attempts=1, started_at=when, progress=step
    )
    lim = StageStatus(
        kind=StageKind.SELECTION,
        state=StageState.SUCCEEDED,
        attempt=1,
        finished_at=when,
        selected=Selected(prompts=1389, of=8523),
        outputs={"subset": Output(uri="s3://b/s", digest="sha256:00")},
    )
    going = Condition(
        type="Progressing", status="True", reason="R", message="running: probe", last_transition_time=when
    )
    interval = Interval(mean=0.535, low=0.5, high=0.57)
    return with_columns(
        Status(
            phase=Phase.RUNNING,
            observed_generation=1,
            conditions=(going,),
            stages={"probe": probe, "select-lim": lim},
            device_hours=12.3456,
            results=(ArmResult(name="lim", prompts=1389, benchmarks={"math500": interval}, device_hours=6.0),),
        )
    )


def test_a_status_is_stored_whole_and_shown(plane: ControlPlane, experiments: Experiments) -> None:
    experiments.apply(named(VALID, "shown"))
    experiments.apply_status("shown", json.loads(status().to_json()))
    assert Status.model_validate_json(json.dumps(experiments.get("shown")["status"])) == status()
    heading, line = plane.kubectl("get", "limr", "shown").splitlines()
    assert heading.split() == ["NAME", "PHASE", "STAGE", "PROGRESS", "SELECTED", "BEST", "DEVICE-HOURS", "AGE"]
    assert line.split()[:8] == ["shown", "Running", "probe", "12/160", "1389/8523", "lim", "53.5%", "12.35"]
    heading, line = plane.kubectl("get", "limr", "shown", "-o", "wide").splitlines()
    assert heading.split()[7:9] == ["CHARGED", "MESSAGE"]
    assert line.split()[8:11] == ["1", "running:", "probe"]


def test_it_is_found_by_its_category(plane: ControlPlane) -> None:
    assert "limrexperiments" in plane.kubectl("api-resources", "--categories=ml", "--cached=false", "-o", "name")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spec.ppo", "The training recipe"),
        ("spec.ppo.valueClip", "0 for none"),
        ("spec.arms.size.sameAs", "As many prompts as that arm selected"),
        ("status.stages.progress.etaSeconds", "Seconds that are left"),
        ("status.conditions.message", "what to do"),
    ],
)
def test_explain(path: str, words: str, plane: ControlPlane) -> None:
    assert words in plane.kubectl("explain", f"limrexperiment.{path}")
