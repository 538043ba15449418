"""The tables of device kinds, and which kind a stage has."""

from __future__ import annotations

from pathlib import Path

import pytest

from limr import devices
from limr.devices import DEVICE_SETTINGS, actor_options, device_kind, machine_gpus
from limr.rollout.llm_settings import engine_environment, llm_arguments
from limr.rollout.types import engine_settings
from limr.spec import MAX_SEQUENCES, Cluster, EngineOptions, LearnerPods, RolloutPods, Spec
from limr.topology import DeviceKind, engines, learners

# vLLM's and OpenMP's variables that mean something to a CPU build or cost speed on a GPU.
CPU_ONLY = ("VLLM_CPU_", "VLLM_ENABLE_V1_MULTIPROCESSING", "TORCHDYNAMO_DISABLE", "OMP_", "KMP_", "MALLOC_")


def variables(kind: DeviceKind) -> dict[str, str]:
    settings = DEVICE_SETTINGS[kind]
    return {**settings.engine_environment, **settings.learner_environment}


def test_no_variable_for_cpus_reaches_a_gpu() -> None:
    assert [name for name in variables(DeviceKind.CUDA) if name.startswith(CPU_ONLY)] == []
    for prefix in CPU_ONLY:
        assert any(name.startswith(prefix) for name in variables(DeviceKind.CPU)), prefix
    assert "VLLM_CPU_KVCACHE_SPACE" not in actor_options(engines(RolloutPods(), DeviceKind.CUDA))["runtime_env"]


def test_each_kind_has_its_own_settings() -> None:
    cuda, cpu = DEVICE_SETTINGS[DeviceKind.CUDA], DEVICE_SETTINGS[DeviceKind.CPU]
    assert (cuda.process_group, cpu.process_group) == ("nccl", "gloo")
    assert cuda.engine_arguments["enforce_eager"] is False
    assert cpu.engine_arguments["enforce_eager"] is True
    assert cuda.learner_environment["DS_ACCELERATOR"] == "cuda"
    assert cpu.learner_environment["DS_ACCELERATOR"] == "cpu"


def cluster(gpus: int) -> Cluster:
    return Cluster(learner=LearnerPods(gpus=gpus), rollout=RolloutPods(gpus=gpus))


@pytest.mark.parametrize(("gpus", "kind"), [(0, DeviceKind.CPU), (1, DeviceKind.CUDA), (8, DeviceKind.CUDA)])
def test_on_a_cluster_the_spec_decides(gpus: int, kind: DeviceKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMR_PLACEMENT", "roles")
    monkeypatch.setattr(devices, "machine_gpus", lambda: pytest.fail("the driver's machine does not count"))
    assert device_kind(cluster(gpus)) is kind


@pytest.mark.parametrize(
    ("gpus", "present", "kind"), [(0, 4, DeviceKind.CPU), (1, 4, DeviceKind.CUDA), (1, 0, DeviceKind.CPU)]
)
def test_on_one_machine_the_machine_decides(
    gpus: int, present: int, kind: DeviceKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMR_PLACEMENT", raising=False)
    monkeypatch.setattr(devices, "machine_gpus", lambda: present)
    assert device_kind(cluster(gpus)) is kind


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("1", 1), ("", 0), ("0,1,2", 2)])
def test_gpus_of_a_machine(visible: str | None, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine_gpus(tmp_path) == count


def test_actors_ask_for_gpus_and_their_group_and_for_no_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMR_PLACEMENT", "roles")
    learner = actor_options(learners(LearnerPods(replicas=2, gpus=8, cpus=20), DeviceKind.CUDA))
    assert (learner["num_gpus"], learner["num_cpus"], learner["resources"]) == (1, 0, {"limr_learner": 1})
    assert learner["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "2"
    engine = actor_options(engines(RolloutPods(gpus=8, tensor_parallel=4), DeviceKind.CUDA))
    assert (engine["num_gpus"], engine["num_cpus"], engine["resources"]) == (4, 0, {"limr_rollout": 1})
    without = actor_options(engines(RolloutPods(gpus=0, cpus=0.1), DeviceKind.CPU))
    assert (without["num_gpus"], without["num_cpus"]) == (0, 0)


def test_on_one_machine_actors_ask_for_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMR_PLACEMENT", raising=False)
    assert actor_options(learners(LearnerPods(), DeviceKind.CPU))["resources"] == {}


ALL = EngineOptions(
    memory_share=0.8,
    max_sequences=64,
    max_batched_tokens=4096,
    kv_cache_dtype="fp8",
    attention_backend="FLASH_ATTN",
    prefix_caching=False,
    batch_invariant=True,
)


def test_what_the_spec_says_reaches_vllm() -> None:
    assert llm_arguments(ALL, DeviceKind.CUDA) == {
        "max_num_seqs": 64,
        "enforce_eager": False,
        "max_num_batched_tokens": 4096,
        "enable_prefix_caching": False,
        "gpu_memory_utilization": 0.8,
        "kv_cache_dtype": "fp8",
        "attention_backend": "FLASH_ATTN",
    }
    assert engine_environment(ALL, DeviceKind.CUDA) == {"VLLM_BATCH_INVARIANT": "1"}


def test_a_laptop_goes_without_what_only_gpus_have() -> None:
    assert llm_arguments(ALL, DeviceKind.CPU) == {
        "max_num_seqs": 64,
        "enforce_eager": True,
        "max_num_batched_tokens": 4096,
        "enable_prefix_caching": False,
    }
    assert engine_environment(ALL, DeviceKind.CPU) == {}


def test_what_the_spec_leaves_out_is_left_to_vllm() -> None:
    assert llm_arguments(EngineOptions(), DeviceKind.CUDA) == {"max_num_seqs": MAX_SEQUENCES, "enforce_eager": False}


@pytest.mark.parametrize(("benchmarks_too", "longest"), [(False, 100 + 50), (True, 100 + 400)])
def test_engines_can_answer_the_longest_that_they_are_asked(benchmarks_too: bool, longest: int) -> None:
    spec = Spec.model_validate(
        {
            "model": {"uri": "m"},
            "dataset": {"uri": "d.json"},
            "ppo": {"maxPromptTokens": 100, "maxResponseTokens": 50},
            "evaluation": {
                "benchmarks": [
                    {"name": "a", "uri": "a.jsonl"},
                    {"name": "b", "uri": "b.jsonl", "maxResponseTokens": 400},
                ]
            },
        }
    )
    assert engine_settings(spec, benchmarks_too).max_model_len == longest
