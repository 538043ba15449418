"""Parameters counted from a config.json are those of transformers' models."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from limr.errors import LimrError
from limr.sizing.architecture import FAMILIES, from_config

SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
CASES = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    ("mistral", {"head_dim": 12}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {}),
    ("qwen3", {"head_dim": 16}),
    ("qwen3", {"attention_bias": True}),
    ("phi3", {}),
    ("gemma3_text", {"head_dim": 16}),
    ("olmo2", {}),
    ("granite", {"attention_bias": True}),
    ("qwen3_moe", {**EXPERTS, "moe_intermediate_size": 24, "head_dim": 16}),
    ("qwen3_moe", {**EXPERTS, "moe_intermediate_size": 24, "mlp_only_layers": [1]}),
    ("qwen3_moe", {**EXPERTS, "moe_intermediate_size": 24, "decoder_sparse_step": 2}),
    ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    ("olmoe", EXPERTS),
]


def config_file(model_type: str, fields: dict[str, Any]) -> Any:
    config = AutoConfig.for_model(model_type, **{**SHAPE, **fields})
    return config, json.loads(config.to_json_string())


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("model_type", "fields"), CASES)
def test_the_count_is_exact(model_type: str, fields: dict[str, Any]) -> None:
    config, file = config_file(model_type, fields)
    architecture = from_config(file, "config.json")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        backbone = AutoModel.from_config(config)
    assert architecture.parameters == parameters(model)
    assert architecture.backbone == parameters(backbone)
    assert architecture.largest_tensor == max(parameter.numel() for parameter in model.parameters())


def test_every_family_is_compared() -> None:
    assert {model_type for model_type, _ in CASES} == set(FAMILIES)


def test_the_published_sizes() -> None:
    """Qwen2.5-Math-7B has 7.62 billion parameters, of which 1.09 are embeddings."""
    qwen = from_config(
        {
            "model_type": "qwen2",
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        },
        "config.json",
    )
    assert qwen.parameters == 7_615_616_512
    assert qwen.backbone == 7_615_616_512 - 152064 * 3584


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "bert"}, "describes a model of type 'bert'"),
        ({"model_type": None}, "describes a model of type None"),
        ({"hidden_size": "wide"}, "has hidden_size: 'wide', not a whole number"),
        ({"vocab_size": None}, "has vocab_size: None, not a whole number"),
    ],
)
def test_what_cannot_be_planned_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LimrError, match=r"spec\.model\.uri: m/config\.json ") as refused:
        from_config({"model_type": "llama", **SHAPE, **changed}, "m/config.json")
    assert message in str(refused.value)
