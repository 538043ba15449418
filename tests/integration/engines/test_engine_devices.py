"""Engines under the settings of each device kind, on vLLM's CPU build: the GPUs' table, and tensor parallelism."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engines import MODEL

from limr.devices import actor_options
from limr.rollout.types import EngineSettings, Rollouts, SamplingSettings
from limr.spec import EngineOptions, RolloutPods
from limr.topology import DeviceKind, engines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PROMPTS = [[5, 6, 7, 8], [9, 10, 11], [20, 21]]
GREEDY = SamplingSettings(samples=1, temperature=0.0, top_p=1.0, max_tokens=12)
# In a process of its own, as a Ray actor is: vLLM reads the environment when it is imported.
PROGRAM = """
import pickle, sys
from limr.rollout.engine import Engine

if __name__ == "__main__":
    settings, kind, tensor_parallel, prompts, sampling = pickle.load(sys.stdin.buffer)
    engine = Engine(settings, kind, tensor_parallel)
    rollouts = engine.generate(prompts, list(range(len(prompts))), sampling)
    open(sys.argv[1], "wb").write(pickle.dumps(rollouts))
"""


def answers(folder: Path, kind: DeviceKind, tensor_parallel: int, options: EngineOptions | None = None) -> Rollouts:
    """What an engine of this kind answers; the actor's environment is the one that Ray would give it."""
    program, output = folder / "engine.py", folder / "rollouts"
    program.write_text(PROGRAM)
    settings = EngineSettings(str(MODEL), None, None, "float32", 32, options or EngineOptions(max_sequences=8))
    pods = RolloutPods(gpus=0, processes=tensor_parallel, tensor_parallel=tensor_parallel)
    own = actor_options(engines(pods, DeviceKind.CPU))["runtime_env"]["env_vars"]
    if kind is DeviceKind.CUDA:
        own = actor_options(engines(RolloutPods(), kind))["runtime_env"]["env_vars"]
    caches = {"VLLM_CACHE_ROOT": str(folder / "vllm"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    process = subprocess.run(
        [sys.executable, str(program), str(output)],
        input=pickle.dumps((settings, kind, tensor_parallel, PROMPTS, GREEDY)),
        env={**os.environ, "HF_HUB_OFFLINE": "1", **caches, **own},
        capture_output=True,
        timeout=850,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()[-4000:]
    rollouts: Rollouts = pickle.loads(output.read_bytes())
    return rollouts


def assert_equal(one: Rollouts, other: Rollouts) -> None:
    assert one.tokens.tolist() == other.tokens.tolist()
    assert np.abs(one.logprobs - other.logprobs).max() < 1e-4


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Rollouts:
    return answers(tmp_path_factory.mktemp("cpu"), DeviceKind.CPU, 1)


def test_an_engine_starts_and_samples_under_the_settings_of_gpus(tmp_path: Path, expected: Rollouts) -> None:
    """With compilation on: variables that vLLM's CPU build wants would stop it here."""
    share = EngineOptions(max_sequences=8, memory_share=0.1)  # of this machine's memory
    assert_equal(answers(tmp_path, DeviceKind.CUDA, 1, share), expected)


@pytest.mark.nightly
def test_an_engine_across_two_processes_answers_as_one_does(tmp_path: Path, expected: Rollouts) -> None:
    assert_equal(answers(tmp_path, DeviceKind.CPU, 2), expected)
