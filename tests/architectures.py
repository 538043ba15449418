"""Tiny random models of many architectures, with the arithmetic example's tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from engines import MODEL

VOCABULARY = 265  # entries of the tokenizer
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "tie_word_embeddings": False,
    "initializer_range": 0.1,
}


def _shape(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**SHAPE, **changes}.items() if value != "absent"}


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**_shape()),
    "llama-tied": lambda: hf.LlamaConfig(**_shape(tie_word_embeddings=True)),
    "qwen2": lambda: hf.Qwen2Config(**_shape(head_dim="absent")),
    "qwen3": lambda: hf.Qwen3Config(**_shape()),
    "qwen3-large-vocabulary": lambda: hf.Qwen3Config(**_shape(vocab_size=VOCABULARY + 55, tie_word_embeddings=True)),
    "mistral": lambda: hf.MistralConfig(**_shape(sliding_window=None)),
    "phi3": lambda: hf.Phi3Config(**_shape(head_dim="absent", sliding_window=None)),
    "gemma3": lambda: hf.Gemma3TextConfig(
        **_shape(tie_word_embeddings=True, sliding_window=32, query_pre_attn_scalar=32, final_logit_softcapping=5.0)
    ),
    "olmo2": lambda: hf.Olmo2Config(**_shape(head_dim="absent")),
    "granite": lambda: hf.GraniteConfig(
        **_shape(
            head_dim="absent",
            logits_scaling=4.0,
            embedding_multiplier=3.0,
            residual_multiplier=0.5,
            attention_multiplier=0.125,
        )
    ),
    "cohere": lambda: hf.CohereConfig(**_shape(head_dim="absent", tie_word_embeddings=True, logit_scale=0.25)),
    "qwen3-moe": lambda: hf.Qwen3MoeConfig(
        **_shape(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, norm_topk_prob=True)
    ),
    "olmoe": lambda: hf.OlmoeConfig(**_shape(head_dim="absent", num_experts=4, num_experts_per_tok=2)),
    "mixtral": lambda: hf.MixtralConfig(
        **_shape(num_local_experts=4, num_experts_per_tok=2, sliding_window=None, tie_word_embeddings=False)
    ),
}


def save_model(architecture: str, folder: Path, seed: int = 1) -> Path:
    """Writes a random model of the architecture, in float32, with tokenizer files, to `folder`."""
    torch.manual_seed(seed)
    model = hf.AutoModelForCausalLM.from_config(ARCHITECTURES[architecture](), dtype=torch.float32)
    model.save_pretrained(folder)
    for file in MODEL.glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
