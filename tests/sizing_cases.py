"""The shapes on which the plan of memory is held against measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from learner_memory import Case

ALLOWED = 0.15  # of the measured peak, that the plan may be off


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
