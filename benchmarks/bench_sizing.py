"""The plan of memory against real learners: peak bytes planned and measured, and the error, for each shape.

    python benchmarks/bench_sizing.py [NAME …]

How it is measured: tests/learner_memory.py. Models are random, and large enough that they and not the libraries make
the difference. At most as many bytes as the shape's ranks need are used at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from learner_memory import Case, measure, planned

MIB = 1 << 20
ALLOWED = 0.15


def model(family: str, hidden: int, layers: int, vocabulary: int, **fields: Any) -> Mapping[str, Any]:
    return {
        "model_type": family,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": 3 * hidden,
        "vocab_size": vocabulary,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 128,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        **fields,
    }


def recipe(**fields: Any) -> Mapping[str, Any]:
    """Two micro-batches in one update."""
    plain = {
        "algorithm": "grpo",
        "klCoefficient": 0.0,
        "promptsPerStep": 2,
        "samplesPerPrompt": 2,
        "trainBatchSize": 4,
        "microBatchSize": 2,
        "zeroStage": 1,
        "packing": False,
        "gradientCheckpointing": False,
    }
    return {**plain, **fields}


QWEN = model("qwen2", 512, 6, 16_000, tie_word_embeddings=True)
LLAMA = model("llama", 768, 4, 8_000)
CASES = [
    Case("qwen2 512×6, ZeRO-1, short", QWEN, recipe(), 32, 96),
    Case("qwen2 512×6, ZeRO-1, 512 tokens", QWEN, recipe(), 128, 384),
    Case("qwen2 512×6, 512 tokens, checkpointing", QWEN, recipe(gradientCheckpointing=True), 128, 384),
    Case("qwen2 512×6, 512 tokens, packed", QWEN, recipe(packing=True), 128, 384),
    Case("llama 768×4, ZeRO-2, ppo", LLAMA, recipe(zeroStage=2, algorithm="ppo", klCoefficient=0.01), 64, 192),
    Case("llama 768×4, ZeRO-3, reference", LLAMA, recipe(zeroStage=3, klCoefficient=0.01), 64, 192),
    Case("qwen3 512×6, large vocabulary", model("qwen3", 512, 4, 64_000, head_dim=64), recipe(), 64, 448),
    Case("llama 768×4, ZeRO-2, 2 ranks", LLAMA, recipe(zeroStage=2), 64, 192, ranks=2),
    Case(
        "llama 768×4, ZeRO-3, 2 ranks, ppo",
        LLAMA,
        recipe(zeroStage=3, algorithm="ppo", klCoefficient=0.01, gradientCheckpointing=True),
        64,
        192,
        ranks=2,
    ),
]


def main(names: Sequence[str]) -> int:
    wrong = 0
    print(f"{'shape':45}{'planned':>12}{'measured':>12}{'error':>9}")
    for case in CASES:
        if names and not any(name in case.name for name in names):
            continue
        parts = [max(peaks[part] for peaks in measure(case)) for part in ("measure", "update")]
        plan, peak = planned(case).device, max(parts)
        error = plan / peak - 1
        wrong += abs(error) > ALLOWED
        print(f"{case.name:45}{plan / MIB:8.0f} MiB{peak / MIB:8.0f} MiB{error:+9.1%}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
