"""Peak memory of real learners on the CPU: each rank is a process of its own, without Ray.

What is measured is resident memory (VmHWM) above that of a process that has imported the libraries and joined its
process group. glibc is made to map every large tensor by itself, so that what is freed is no longer resident: else
the peak would also depend on how the heap is fragmented.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from limr.sizing.architecture import from_config
from limr.sizing.learner import Learners, RankMemory, rank_memory
from limr.sizing.plan import GRADIENT_DTYPE
from limr.spec import PPO
from limr.topology import DeviceKind, Rank

ROOT = Path(__file__).parents[1]
DEADLINE_SECONDS = 1200
# One thread: how many scratch buffers oneDNN and the attention kernels hold depends on the number of threads.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "DS_ACCELERATOR": "cpu",
    "HF_HUB_OFFLINE": "1",  # its models are folders
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": f"{ROOT / 'tests'}",
}


# What runs before the baseline is measured, so that all libraries and kernels are loaded.
TINY = {"hidden_size": 192, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}
SHORT = {"prompt_tokens": 8, "response_tokens": 8}


@dataclass(frozen=True)
class Case:
    """A random model, a recipe, and the lengths that all of its responses have."""

    name: str
    config: Mapping[str, Any]  # of transformers, with model_type
    ppo: Mapping[str, Any]  # as in a file
    prompt_tokens: int
    response_tokens: int
    ranks: int = 1
    dtype: str = "float32"

    def recipe(self) -> PPO:
        fixed = {"maxPromptTokens": self.prompt_tokens, "maxResponseTokens": self.response_tokens}
        return PPO.model_validate({"warmupUpdates": 0, **fixed, **self.ppo})


def make_model(config: Mapping[str, Any], dtype: str, folder: Path) -> None:
    """Writes a model with random weights in Hugging Face form."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = dict(config)
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(fields.pop("model_type"), **fields), dtype=getattr(torch, dtype)
    ).save_pretrained(folder)


def measure(case: Case) -> list[dict[str, int]]:
    """For each rank, peak bytes above the baseline in each part: load, measure, update, idle."""
    with tempfile.TemporaryDirectory(prefix="limr-sizing-") as scratch:
        folder = Path(scratch)
        make_model(case.config, case.dtype, folder / "model")
        make_model({**case.config, **TINY}, case.dtype, folder / "tiny")
        (folder / "case.json").write_text(json.dumps(asdict(case)))
        command = [sys.executable, "-m", "learner_memory", str(folder)]
        environment = os.environ | ENVIRONMENT
        ranks = [
            subprocess.Popen(
                [*command, str(rank)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if os.environ.get("QUIET") else None,
            )
            for rank in range(case.ranks)
        ]
        try:
            statuses = [rank.wait(DEADLINE_SECONDS) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        assert not any(statuses), f"{case.name}: exit status {statuses}"
        return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(case.ranks)]


def step_peak(peaks: Mapping[str, int]) -> int:
    """Bytes at most while a step is computed; loading the model beforehand is not planned."""
    return max(peaks["measure"], peaks["update"])


def planned(case: Case) -> RankMemory:
    """What the plan says of one rank of the case."""
    return rank_memory(
        Learners(
            model=from_config(case.config, case.name),
            ppo=case.recipe(),
            ranks=case.ranks,
            dtype=case.dtype,
            gradient_dtype=GRADIENT_DTYPE,
            offload=False,
            on_gpu=False,
        )
    )


# In a rank's own process


def main(arguments: Sequence[str]) -> None:
    folder, rank = Path(arguments[0]), int(arguments[1])
    case = Case(**json.loads((folder / "case.json").read_text()))
    from limr.learner.process_group import join

    address = ("127.0.0.1", _port(folder, rank))
    join(rank, case.ranks, address, DEADLINE_SECONDS)
    tiny = replace(case, config={**case.config, **TINY}, **SHORT)
    _peaks(tiny, folder / "tiny", rank, address)
    gc.collect()
    baseline = _resident("VmRSS")
    peaks = {name: peak - baseline for name, peak in _peaks(case, folder / "model", rank, address).items()}
    (folder / f"rank{rank}.json").write_text(json.dumps(peaks))


def _peaks(case: Case, model: Path, rank: int, address: tuple[str, int]) -> dict[str, int]:
    """Resident bytes at most, by part of a step; a short one before it brings Adam's state and ZeRO's buffers."""
    from inspected_learner import InspectedLearner

    from limr.learner.types import LearnerSettings

    settings = LearnerSettings(
        model=str(model),
        revision=None,
        root="unused",
        endpoint=None,
        dtype=case.dtype,
        ppo=case.recipe(),
        seed=1,
        total_updates=100,
        deadline_seconds=DEADLINE_SECONDS,
        scratch=Path("limr-tests/attempt-1"),
    )
    learner = InspectedLearner(settings, DeviceKind.CPU)
    place = Rank(number=rank, total=case.ranks, local_number=rank, local_total=case.ranks)
    peaks = {"load": _peak_during(lambda: learner.start(place, address))}
    for step, lengths in ((1, SHORT), (2, {})):
        batch = _batch(replace(case, **lengths), step)
        peaks["measure"] = _peak_during(lambda batch=batch: learner.measure_step(batch))
        peaks["update"] = _peak_during(learner.update_step)
    peaks["idle"] = _peak_during(gc.collect)
    return peaks


def _peak_during(call: Callable[[], object]) -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    call()
    return _resident("VmHWM")


def _port(folder: Path, rank: int) -> int:
    """Rank 0 chooses one."""
    import socket
    import time

    file = folder / "port"
    if rank == 0:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        (folder / "port.new").write_text(str(port))
        (folder / "port.new").rename(file)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not file.exists():
        assert time.monotonic() < deadline, "rank 0 did not start"
        time.sleep(0.05)
    return int(file.read_text())


def _batch(case: Case, step: int) -> Any:
    import numpy as np

    from limr.learner.types import StepBatch

    ppo = case.recipe()
    responses = ppo.prompts_per_step * ppo.samples_per_prompt
    rng = np.random.default_rng([7, step])
    vocabulary = case.config["vocab_size"]
    prompts = rng.integers(5, vocabulary, responses * case.prompt_tokens)
    tokens = rng.integers(5, vocabulary, responses * case.response_tokens)
    return StepBatch(
        step=step,
        prompt_tokens=prompts.astype(np.int32),
        prompt_lengths=np.full(responses, case.prompt_tokens, np.int32),
        response_tokens=tokens.astype(np.int32),
        response_lengths=np.full(responses, case.response_tokens, np.int32),
        rollout_logprobs=np.full(len(tokens), -np.log(vocabulary), np.float32),
        rewards=rng.choice([1.0, -0.5, -1.0], responses).astype(np.float32),
    )


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main(sys.argv[1:])
