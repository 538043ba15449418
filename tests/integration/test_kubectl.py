"""`kubectl limr …` as someone with the role `edit` in one namespace runs it, against a real API server."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import kubernetes
import pytest
import yaml
from cluster.control_plane import ControlPlane
from cluster.daemons import wait_until
from cluster.kubernetes_module import kubernetes_program
from fake_kuberay import STEPS, succeed
from operator_lab import Lab
from report_experiment import FakeExperiment
from servers.s3_server import S3Server

from limr.plan import Phase, StageState, StageStatus, Status, graph
from limr.report.stage import run_stage as write_report
from limr.stage import ArmResult, Interval, Ledger, Outcome, Output, StageInput, StageKind, StageResult, Tripped
from limr.store import digest, open_store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SECONDS = 60
PROGRAMS = Path(sys.executable).parent
CLUSTER_ROLES = Path(__file__).parents[2] / "manifests/base/operator.yaml"
PORT_OF_NOBODY = 9  # discard; nothing listens there


@dataclass
class OnCall:
    """A person who may edit one namespace."""

    kubeconfig: Path
    namespace: str
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [kubernetes_program("kubectl"), "limr", *words, "-n", self.namespace]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def says(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_told(self, *words: str) -> str:
        done = self.run(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        return done.stderr.strip()


@pytest.fixture(scope="module")
def roles(plane: ControlPlane) -> None:
    """The chart's, by which `edit` and `view` speak of experiments too."""
    documents = yaml.safe_load_all(CLUSTER_ROLES.read_text())
    aggregated = ("aggregate-to-edit", "aggregate-to-view")
    mine = [thing for thing in documents if any(role in str(thing["metadata"].get("labels")) for role in aggregated)]
    assert len(mine) == 2
    plane.kubectl.apply(*mine)
    wait_until(lambda: "limrexperiments" in plane.kubectl("get", "clusterrole", "edit", "-o", "yaml"), "edit", 30)


def person(plane: ControlPlane, namespace: str, role: str, folder: Path) -> OnCall:
    user = f"{role}-{namespace}"
    plane.kubectl("create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}", "-n", namespace)
    kubeconfig = plane.kubeconfig_for(user)
    path = f"{kubernetes_program('kubectl').parent}:{PROGRAMS}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KUBE"))}
    environment = {**kept, "PATH": path, "KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(folder / "cache")}
    return OnCall(kubeconfig, namespace, environment | {"COLUMNS": "80"})


@pytest.fixture
def on_call(plane: ControlPlane, roles: None, lab: Lab, tmp_path: Path) -> OnCall:
    return person(plane, lab.namespace, "edit", tmp_path)


@contextmanager
def operator(lab: Lab) -> Iterator[None]:
    """Looks at the experiment and lets its stages move, again and again."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            lab.look()
            lab.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def failing(times: int) -> Callable[[StageInput, int], StageResult | None]:
    """The probe's first attempts end badly."""

    def script(stage_input: StageInput, step: int) -> StageResult | None:
        if stage_input.stage.kind is StageKind.PROBE and stage_input.attempt <= times and step >= STEPS:
            return StageResult(outcome=Outcome.FAILED, reason="EngineLost", message="engine 0 died")
        return succeed(stage_input, step)

    return script


def too_far(stage_input: StageInput, step: int) -> StageResult | None:
    """The probe's first attempt is ended by its KL guard."""
    guard = stage_input.experiment.spec.guards.kl
    if stage_input.stage.kind is StageKind.PROBE and stage_input.attempt == 1 and guard:
        return StageResult(
            outcome=Outcome.GUARDED,
            reason="KLAboveBound",
            message="the KL was too high",
            tripped=Tripped.by("kl", guard),
        )
    return succeed(stage_input, step)


def expensive(stage_input: StageInput, step: int) -> StageResult | None:
    result = succeed(stage_input, step)
    return result and result.model_copy(update={"ledger": Ledger(device_seconds=7200)})


def test_status_of_an_experiment_at_work_and_at_its_end(lab: Lab, on_call: OnCall) -> None:
    lab.apply()
    assert "The operator has not looked at it yet" in on_call.says("status", "demo")
    lab.run(lambda status: status.stages["probe"].state is StageState.RUNNING)
    lines = on_call.says("status", "demo").splitlines()
    assert lines[0].startswith(f"demo in {lab.namespace}: Running, ")
    assert any(line.split()[:4] == ["probe", "Running", "1", "0/2"] for line in lines)
    command = [kubernetes_program("kubectl"), "limr", "status", "demo", "-n", lab.namespace, "--watch"]
    with subprocess.Popen(command, env=on_call.environment, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        first = watch.stdout.readline()
        with operator(lab):
            *_, last = watch.stdout.read().splitlines()
        assert watch.wait(SECONDS) == 0
    assert " Running " in first
    assert last == f"→ kubectl limr report demo -n {lab.namespace}"


def test_on_a_terminal_it_is_drawn_again(lab: Lab, on_call: OnCall) -> None:
    lab.apply()
    lab.look()
    command = f"{kubernetes_program('kubectl')} limr status demo -n {lab.namespace} --watch"
    terminal = ["script", "--quiet", "--return", "--command", command, "/dev/null"]
    environment = on_call.environment | {"TERM": "xterm"}
    with subprocess.Popen(terminal, env=environment, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        shown = watch.stdout.readline()
        with operator(lab):
            shown += watch.stdout.read()
        assert watch.wait(SECONDS) == 0, shown
    assert shown.index("Running") < shown.index("Complete")
    assert "\x1b[2K" in shown  # what was drawn before is erased


def test_a_failed_experiment_says_so_and_is_tried_again(plane: ControlPlane, roles: None, tmp_path: Path) -> None:
    lab = Lab(plane, f"test-{secrets.token_hex(4)}", failing(2))
    on_call = person(plane, lab.namespace, "edit", tmp_path)
    lab.apply(limits={"attempts": 2})
    assert on_call.is_told("retry", "demo") == "limr: demo: no stage has failed; see: limr status demo"
    lab.run()
    shown = on_call.says("status", "demo")
    assert "Failed: StageFailed\n  probe failed after 2 attempts (EngineLost): engine 0 died;" in shown
    assert "LAST WARNINGS" in shown
    assert on_call.is_told("retry", "demo", "report").startswith("limr: report is Blocked (it needs probe, ")
    assert on_call.is_told("retry", "demo", "prob").startswith(
        "limr: demo has no stage prob; its stages are preflight, "
    )
    assert on_call.says("retry", "demo", "probe") == "demo: fresh tries for probe; see: limr status demo\n"
    assert lab.run().phase is Phase.COMPLETE
    assert lab.status().stages["probe"].attempt == 3


def test_suspend_and_resume(lab: Lab, on_call: OnCall) -> None:
    lab.apply()
    lab.run(lambda status: status.stages["probe"].state is StageState.RUNNING)
    told = on_call.is_told("suspend", "demo", "--wait", "--timeout", "1s")
    assert told == "limr: demo is not suspended after 1s: no operator has seen the change: is it running?"
    with operator(lab):
        assert on_call.says("suspend", "demo", "--wait") == "demo is suspended\n"
        assert lab.status().phase is Phase.SUSPENDED
        assert on_call.says("resume", "demo", "--wait") == "demo goes on\n"
        assert lab.status().phase is not Phase.SUSPENDED
    lab.run()
    assert on_call.is_told("suspend", "demo") == "limr: demo is Complete: there is nothing to stop"


def test_what_a_guard_has_suspended_is_resumed(plane: ControlPlane, roles: None, tmp_path: Path) -> None:
    lab = Lab(plane, f"test-{secrets.token_hex(4)}", too_far)
    on_call = person(plane, lab.namespace, "edit", tmp_path)
    lab.apply(guards={"kl": {"above": 0.5}})
    lab.run(lambda status: status.phase is Phase.SUSPENDED)
    shown = on_call.says("status", "demo")
    assert "Guarded: KLAboveBound\n  probe, attempt 1: the KL was too high; mend the cause" in shown
    assert f"→ when the cause is mended: kubectl limr resume demo -n {lab.namespace}" in shown
    assert "GuardTripped" in shown
    assert on_call.says("resume", "demo") == "demo goes on\n"
    assert lab.run().phase is Phase.COMPLETE
    probe = lab.status().stages["probe"]
    assert (probe.attempt, probe.charged_attempts, probe.previous and probe.previous.reason) == (2, 0, "KLAboveBound")


def test_a_spent_budget_is_not_resumed_but_raised(plane: ControlPlane, roles: None, tmp_path: Path) -> None:
    lab = Lab(plane, f"test-{secrets.token_hex(4)}", expensive)
    on_call = person(plane, lab.namespace, "edit", tmp_path)
    lab.apply(limits={"deviceHours": 1}, guards={"deviceHours": {"action": "Suspend"}})
    lab.run(lambda status: status.phase is Phase.SUSPENDED)
    told = on_call.is_told("resume", "demo")
    assert told.startswith("limr: demo: limits.deviceHours = 1 are spent before the end of ")
    assert told.endswith("raise limits.deviceHours to go on from there")
    lab.apply(limits={"deviceHours": 100}, guards={"deviceHours": {"action": "Suspend"}})
    assert lab.run().phase is Phase.COMPLETE


def test_logs_say_why_there_are_none(lab: Lab, on_call: OnCall) -> None:
    lab.apply()
    lab.look()
    assert on_call.is_told("logs", "demo").startswith(
        "limr: preflight, attempt 1: no Pod has begun to work: it is Starting"
    )
    assert on_call.is_told("logs", "demo", "report") == (
        "limr: report has not begun: it is Pending; nothing was printed"
    )
    lab.run()
    told = on_call.is_told("logs", "demo", "probe")
    assert told.startswith(
        "limr: probe, attempt 1: its Pod demo--probe-1-driver is gone, and its log with it; the stage is Succeeded"
    )
    assert on_call.is_told("logs", "demo").startswith(
        "limr: demo is Complete and no stage is at work; name one of preflight,"
    )


def test_logs_are_asked_of_the_pod_at_work(lab: Lab, on_call: OnCall) -> None:
    """No node is here that could answer."""
    lab.apply()
    lab.run(lambda status: status.stages["probe"].progress is not None)
    body = {"metadata": {"name": "demo--probe-1-driver"}, "target": {"kind": "Node", "name": "node-of-the-driver"}}
    core = kubernetes.client.CoreV1Api(lab.client)
    core.create_namespaced_pod_binding("demo--probe-1-driver", lab.namespace, body, _preload_content=False)
    done = on_call.run("logs", "demo")
    assert done.returncode == 1
    assert "node-of-the-driver" in done.stderr


def test_errors_are_sentences(plane: ControlPlane, lab: Lab, on_call: OnCall, tmp_path: Path) -> None:
    assert on_call.is_told("status", "qwen") == (
        f"limr: there is no experiment qwen in namespace {lab.namespace}; there are none: try --namespace"
    )
    lab.apply()
    assert on_call.is_told("status", "qwen").endswith("; there are demo")
    elsewhere = OnCall(on_call.kubeconfig, "default", on_call.environment)
    assert elsewhere.is_told("status", "demo").startswith(
        f"limr: you (edit-{lab.namespace}) may not get limrexperiments.limr.dev in namespace default; ask for a"
    )
    viewer = person(plane, lab.namespace, "view", tmp_path)
    assert viewer.says("status", "demo")
    told = viewer.is_told("suspend", "demo")
    assert told.startswith(f"limr: you (view-{lab.namespace}) may not patch limrexperiments.limr.dev in namespace")
    away = tmp_path / "away.kubeconfig"
    document = yaml.safe_load(on_call.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{PORT_OF_NOBODY}"
    away.write_text(json.dumps(document))
    assert on_call.is_told("status", "demo", "--kubeconfig", str(away)).startswith(
        "limr: the cluster does not answer ("
    )
    assert "context" in on_call.is_told("status", "demo", "--context", "nowhere")


def test_names_complete(lab: Lab, on_call: OnCall) -> None:
    lab.apply()
    lab.look()

    def completed(*words: str) -> list[str]:
        command = [PROGRAMS / "kubectl_complete-limr", *words]
        done = subprocess.run(command, env=on_call.environment, capture_output=True, text=True, timeout=SECONDS)
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    assert completed("re") == ["report", "resume", "retry", ":4"]
    assert completed("status", "-n", lab.namespace, "") == ["demo", ":4"]
    assert completed("logs", "-n", lab.namespace, "demo", "select") == ["select-lim", ":4"]
    assert completed("logs", "-n", "default", "demo", "") == [":4"]


def stored(lab: Lab, s3: S3Server, folder: Path, endpoint: str | None = None, **spec: object) -> None:
    """A complete experiment, with what stages have left of a run of random numbers, in a bucket of its own."""
    folder.mkdir()
    made = FakeExperiment(folder).run_all()
    made.inputs["report"] = write_report(made.stage_input(), made.store)
    bucket = s3.new_bucket()
    store = open_store(bucket, s3.endpoint)
    stages = {
        stage.name: StageStatus(kind=stage.ref.kind, state=StageState.SUCCEEDED) for stage in graph(made.experiment)
    }
    for stage, outputs in made.inputs.items():
        copied = {}
        for output, found in outputs.items():
            path = found.uri.removeprefix(f"{made.store.uri}/")
            data = made.store.get(path)
            store.put(path, data)
            copied[output] = Output(uri=f"{bucket}/{path}", digest=digest.of_bytes(data))
        stages[stage] = stages[stage].model_copy(update={"outputs": copied})
    results = tuple(
        ArmResult(name=name, benchmarks={"sums": Interval(mean=0.5, low=0.4, high=0.6)}) for name in ("base", "lim")
    )
    status = Status(phase=Phase.COMPLETE, stages=stages, results=results, device_hours=1.5)
    place = {"uri": bucket, "endpoint": endpoint or s3.endpoint, "credentialsSecret": "rl-s3"}
    manifest = lab.apply(storage=place, arms=made.spec["arms"], **spec)
    lab.api.replace_status({**manifest, "status": json.loads(status.to_json())})


def keep_credentials(plane: ControlPlane, lab: Lab, s3: S3Server) -> None:
    keys = [f"--from-literal={name}={value}" for name, value in s3.credentials.items()]
    plane.kubectl("create", "secret", "generic", "rl-s3", "-n", lab.namespace, *keys)


def test_report_with_the_credentials_of_the_secret(
    plane: ControlPlane, lab: Lab, on_call: OnCall, s3_server: S3Server, tmp_path: Path
) -> None:
    keep_credentials(plane, lab, s3_server)
    stored(lab, s3_server, tmp_path / "stored")
    file = tmp_path / "report.html"
    assert on_call.says("report", "demo", "--no-open", "--output", str(file)) == f"{file}\n"
    assert file.read_bytes() == (tmp_path / "stored/report/index.html").read_bytes()
    new = Path(on_call.says("report", "demo", "--no-open").strip())
    assert new.read_bytes() == file.read_bytes()
    secret = s3_server.credentials["AWS_SECRET_ACCESS_KEY"]
    viewer = person(plane, lab.namespace, "view", tmp_path)
    told = viewer.is_told("report", "demo", "--no-open")
    assert told.startswith(
        f"limr: you (view-{lab.namespace}) may not get secrets in namespace {lab.namespace}; ask for"
    )
    assert "set AWS_ACCESS_KEY_ID" in told
    viewer.environment |= s3_server.credentials
    assert viewer.says("report", "demo", "--no-open", "--output", str(file))
    viewer.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    assert "the server refuses the credentials" in viewer.is_told("report", "demo", "--no-open")
    assert secret not in told


def test_a_report_that_cannot_be_had(
    plane: ControlPlane, lab: Lab, on_call: OnCall, s3_server: S3Server, tmp_path: Path
) -> None:
    keep_credentials(plane, lab, s3_server)
    lab.apply()
    lab.look()
    assert on_call.is_told("report", "demo") == "limr: demo: report has made no page yet: it is Pending"
    lab.name = "other"
    stored(lab, s3_server, tmp_path / "stored", "http://s3.default.svc.cluster.local:7070")
    told = on_call.is_told("report", "other")  # what holds the store is in a namespace that is not theirs
    assert told.startswith(
        "limr: no port can be forwarded to service s3 in namespace default, where the store is: you ("
    )


def test_compare(plane: ControlPlane, lab: Lab, on_call: OnCall, s3_server: S3Server, tmp_path: Path) -> None:
    keep_credentials(plane, lab, s3_server)
    stored(lab, s3_server, tmp_path / "one")
    lab.name = "other"
    stored(lab, s3_server, tmp_path / "two", seed=2)
    shown = on_call.says("compare", "demo", "other").splitlines()
    assert shown[0].split() == ["A:", "demo", "B:", "other"]
    assert any(line.split() == ["seed", "1", "2"] for line in shown)
    assert any(line.split() == ["full", "512", "512", "512"] for line in shown)
    assert "  over all benchmarks: no difference between A/lim and B/lim can be claimed:" in shown
    assert max(map(len, shown)) <= 80
    assert on_call.is_told("compare", "demo", "demo") == "limr: demo is compared with itself; name two experiments"
