"""`limr plan`, and where a model's config.json is looked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from limr.errors import LimrError
from limr.sizing.architecture import UnknownArchitecture
from limr.sizing.command import plan
from limr.sizing.findings import DoesNotFit
from limr.sizing.sources import ConfigUnavailable, read_architecture, stored_parameters
from limr.sizing.stage import plan_stage
from limr.spec import Spec
from limr.topology import DeviceKind
from limr.validate import load, resolved

EXAMPLES = Path(__file__).parents[2] / "examples"
QWEN = EXAMPLES / "qwen2.5-math-7b"


def limr_plan(*arguments: str) -> Result:
    return CliRunner().invoke(plan, list(arguments))


def arithmetic(**fields: Any) -> Spec:
    file = EXAMPLES / "arithmetic" / "experiment.yaml"
    spec = resolved(load(file), file.parent, Path.cwd()).spec
    return spec.model_copy(update={"model": spec.model.model_copy(update=fields)})


def test_the_example_is_printed_with_every_part() -> None:
    done = limr_plan(str(QWEN / "experiment.yaml"), "--config", str(QWEN / "config.json"))
    assert done.exit_code == 0, done.output
    for words in (
        "7.62 billion parameters",
        "1 Pod × 8 GPUs (h100-80gb), 8 ranks, ZeRO-3",
        "a rank needs",
        "of 79.1 GiB",
        "keys and values",
        "full sequences at a time",
        "training state, for each checkpoint",
        "A step takes about",
        "32 updates",
    ):
        assert words in done.output


def test_what_does_not_fit_ends_with_status_1() -> None:
    whole = "spec.ppo.gradientCheckpointing=false"
    done = limr_plan(str(QWEN / "experiment.yaml"), "--config", str(QWEN / "config.json"), "--set", whole)
    assert done.exit_code == 1
    assert "error: spec.cluster.learner: a rank needs" in done.output


def test_a_model_in_a_folder_needs_no_option() -> None:
    done = limr_plan(str(EXAMPLES / "arithmetic" / "experiment.yaml"), "--cpu")
    assert done.exit_code == 0, done.output
    assert "624,832 parameters, float32" in done.output


def test_a_stage_plans_before_it_starts_anything() -> None:
    spec = arithmetic()
    made = plan_stage(spec, DeviceKind.CPU)
    assert made is not None
    assert made.model.parameters == stored_parameters(EXAMPLES / "arithmetic" / "model")


def test_a_stage_refuses_what_cannot_fit(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((QWEN / "config.json").read_text())
    spec = load(QWEN / "experiment.yaml", [f"spec.model.uri={tmp_path}", "spec.ppo.gradientCheckpointing=false"]).spec
    with pytest.raises(DoesNotFit, match=r"spec\.cluster\.learner: a rank needs"):
        plan_stage(spec, DeviceKind.CUDA)


def test_a_model_that_cannot_be_planned_runs_without_a_plan(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gemma9"}')
    with pytest.raises(UnknownArchitecture, match="describes a model of type 'gemma9'"):
        read_architecture(arithmetic(uri=str(tmp_path)))
    assert plan_stage(arithmetic(uri=str(tmp_path)), DeviceKind.CUDA) is None


def test_a_hub_id_that_is_not_here_is_said_in_one_sentence() -> None:
    with pytest.raises(ConfigUnavailable, match=r"spec\.model\.uri: .* is not in this machine's cache\), so memory"):
        read_architecture(arithmetic(uri="nobody/no-such-model"), ask_hub=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "holds no fields"), ('{"model_type": "llama"}', "has num_attention_heads: None")],
)
def test_a_file_that_is_no_config_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LimrError, match=r"spec\.model\.uri") as refused:
        read_architecture(arithmetic(uri=str(tmp_path)))
    assert message in str(refused.value)


def test_weights_of_another_model_are_noticed(tmp_path: Path) -> None:
    import numpy as np

    config = json.loads((EXAMPLES / "arithmetic" / "model" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 9}))
    save_file({"lm_head.weight": np.zeros((3, 4), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(LimrError, match=r"hold (0|12): one of them belongs to another model"):
        read_architecture(arithmetic(uri=str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(LimrError, match="is no safetensors file"):
        read_architecture(arithmetic(uri=str(tmp_path)))


def test_nothing_heavy_is_imported() -> None:
    file = EXAMPLES / "arithmetic" / "experiment.yaml"
    program = (
        f"import sys; sys.argv[1:] = ['plan', {str(file)!r}, '--cpu']\n"
        "from limr.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('heavy:', *[m for m in ('numpy', 'torch', 'ray', 'transformers') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "heavy:"), done.stderr
