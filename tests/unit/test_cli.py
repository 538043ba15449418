"""The `limr` command itself: light, and one sentence for what a person can mend."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from limr.cli import COMMANDS

HEAVY = ("numpy", "torch", "ray", "vllm", "pyarrow", "boto3", "transformers", "deepspeed", "math_verify")
EXPERIMENT = """\
apiVersion: limr.dev/v1alpha1
kind: LIMRExperiment
metadata: {name: demo}
spec:
  model: {uri: Qwen/Qwen2.5-Math-7B}
  dataset: {uri: "s3://bucket/d.json"}
"""


def limr(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limr", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "experiment.yaml"
    file.write_text(EXPERIMENT)
    return file


@pytest.mark.parametrize(
    "arguments", [["--help"], ["validate"], ["run", "--help"], ["status", "--help"], ["retry", "--help"]]
)
def test_nothing_heavy_is_imported(arguments: list[str], experiment: Path) -> None:
    call = [*arguments, str(experiment)] if arguments == ["validate"] else arguments
    program = (
        "import sys\n"
        f"sys.argv[1:] = {call!r}\n"
        "from limr.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print('heavy:', *[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_help_names_every_command() -> None:
    out = limr("--help").stdout
    assert all(f"  {name}" in out for name in COMMANDS)


def test_version() -> None:
    assert limr("version").stdout == f"limr {metadata.version('limr')}\n"


def test_a_valid_file(experiment: Path) -> None:
    done = limr("validate", str(experiment))
    assert (done.returncode, done.stderr) == (0, "")
    valid, plan = done.stdout.splitlines()
    assert valid == f"{experiment}: demo is valid; its stages: preflight, probe, select-lim, train-lim-s1, report"
    assert plan.startswith("spec.model.uri: the config.json of Qwen/Qwen2.5-Math-7B is out of reach (it is not in this")


def test_mistakes_go_to_stderr_with_status_1(experiment: Path) -> None:
    done = limr("validate", str(experiment), "--set", "spec.seed=-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"limr: {experiment}: spec.seed: is -1; write at least 0\n"


def test_files_elsewhere_need_not_be_here(experiment: Path) -> None:
    settings = ["--set", "spec.model.uri=/mnt/models/qwen"]
    assert limr("validate", str(experiment), *settings).returncode == 1
    assert limr("validate", str(experiment), *settings, "--no-files").returncode == 0


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = limr("run", str(tmp_path / "none.yaml"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"limr: {tmp_path}/none.yaml: cannot be read (No such file or directory)")


@pytest.mark.parametrize("arguments", [["validate"], ["nonsense"], ["run", "x", "--nonsense"]])
def test_a_wrong_call_has_status_2(arguments: list[str]) -> None:
    assert limr(*arguments).returncode == 2


def test_a_package_that_is_missing_is_named() -> None:
    without = "import sys; sys.modules['numpy'] = None; sys.argv[1:] = ['compare', 'a', 'b']"
    program = f"{without}\nfrom limr.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "limr: this command needs numpy; install limr[tools] (or a trainer extra)\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    assert "_LIMR_COMPLETE" in limr("completion", shell).stdout
