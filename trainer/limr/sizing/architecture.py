"""What a model's config.json says about its size: shapes, parameters and the tokens that its layers keep.

Counts of parameters are exact for the families below; a test compares them with transformers' own models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limr.errors import LimrError


class UnknownArchitecture(LimrError):
    """A model whose memory cannot be planned, although it may well run."""


@dataclass(frozen=True)
class Family:
    """In what a `model_type` differs from a Llama, where its config.json has no field for it."""

    tied: bool = False  # whether the output head is the embedding, unless the file says otherwise
    qkv_bias: bool = False
    qk_norm: str = ""  # "head": one weight per head dimension; "width": one per dimension of all heads
    norms: int = 2  # of the residual stream in each layer
    experts: bool = False


FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(qk_norm="head"),
    "phi3": Family(),
    "gemma3_text": Family(tied=True, qk_norm="head", norms=4),
    "olmo2": Family(qk_norm="width"),
    "granite": Family(),
    "qwen3_moe": Family(qk_norm="head", experts=True),
    "mixtral": Family(experts=True),
    "olmoe": Family(qk_norm="width", experts=True),
}


@dataclass(frozen=True)
class Architecture:
    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int  # width of the MLP, of one expert in a layer of experts
    vocabulary: int
    tied: bool
    max_positions: int
    attention_bias: bool = False
    mlp_bias: bool = False
    experts: int = 0  # 0: dense
    experts_per_token: int = 0
    dense_layers: int = 0  # layers without experts in a model that has some
    dense_intermediate: int = 0
    sliding_window: int | None = None
    sliding_layers: int = 0

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Of keys or values."""
        return self.kv_heads * self.head_dim

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, as many as those of an output head that is not tied to it."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Of the language model; a tied head counts once."""
        return self.backbone + (0 if self.tied else self.embedding)

    @property
    def backbone(self) -> int:
        """Parameters without the output head: what the critic has besides its own head."""
        return self.embedding + self._all_layers(self.experts) + self.hidden

    @property
    def active_parameters(self) -> int:
        """Those that multiply a token, the output head included; the embedding is only looked up."""
        return self._all_layers(self.experts_per_token) + self.embedding

    @property
    def largest_layer(self) -> int:
        """Parameters of the largest module that ZeRO-3 gathers at once: a layer, or the embedding."""
        with_experts = self._attention + self._mlp(self.experts) + self._norms
        return max(with_experts, self.embedding)

    @property
    def largest_tensor(self) -> int:
        """Elements of the largest parameter. transformers keeps the experts of a layer in two tensors."""
        experts = 2 * self.experts * self.intermediate * self.hidden
        return max(self.embedding, experts, self.intermediate * self.hidden, self.query_width * self.hidden)

    @property
    def trait(self) -> Family:
        return FAMILIES[self.family]

    def _all_layers(self, experts: int) -> int:
        shared = self.layers * (self._attention + self._norms)
        dense = 3 * self.hidden * self.dense_intermediate * self.dense_layers
        if self.experts:
            router = self.hidden * self.experts
            per_expert = 3 * self.hidden * self.intermediate
            return shared + dense + (self.layers - self.dense_layers) * (experts * per_expert + router)
        return shared + self.layers * self._mlp(0)

    @property
    def _attention(self) -> int:
        q, kv, bias = self.query_width, self.kv_width, 0
        if self.attention_bias:
            bias = q + 2 * kv + (self.hidden if not self.trait.qkv_bias else 0)
        norm = {"": 0, "head": 2 * self.head_dim, "width": q + kv}[self.trait.qk_norm]
        return self.hidden * (q + 2 * kv) + q * self.hidden + bias + norm

    @property
    def _norms(self) -> int:
        return self.trait.norms * self.hidden

    def _mlp(self, experts: int) -> int:
        if experts:
            return experts * 3 * self.hidden * self.intermediate + self.hidden * self.experts
        return 3 * self.hidden * self.intermediate + ((2 * self.intermediate + self.hidden) if self.mlp_bias else 0)


def from_config(config: Mapping[str, Any], source: str) -> Architecture:
    """The architecture that a config.json describes; `source` names the file in messages.

    Raises UnknownArchitecture for a family that is not known here, LimrError for a file without a field it needs.
    """
    config = _text_part(config)
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise UnknownArchitecture(
            f"spec.model.uri: {source} describes a model of type {family!r}, whose memory cannot be planned; choose "
            f"one of {', '.join(FAMILIES)}, or run it without a plan"
        )
    trait = FAMILIES[family]
    read = _Reader(config, source)
    heads, hidden, layers = read("num_attention_heads"), read("hidden_size"), read("num_hidden_layers")
    # transformers 5 writes the second name for families whose published files have the first.
    experts = read("num_experts", read("num_local_experts", 0)) if trait.experts else 0
    intermediate = read("intermediate_size")
    return Architecture(
        family=family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=read("num_key_value_heads", heads),
        head_dim=read("head_dim", hidden // heads),
        intermediate=read("moe_intermediate_size", intermediate) if experts else intermediate,
        vocabulary=read("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", trait.tied)),
        max_positions=read("max_position_embeddings", 0),
        attention_bias=trait.qkv_bias or bool(config.get("attention_bias")),
        mlp_bias=bool(config.get("mlp_bias")),
        experts=experts,
        experts_per_token=read("num_experts_per_tok") if experts else 0,
        dense_layers=_dense_layers(config, layers) if experts else 0,
        dense_intermediate=intermediate,
        **_sliding(config, layers),
    )


class _Reader:
    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self._config, self._source = config, source

    def __call__(self, field: str, default: int | None = None) -> int:
        value = self._config.get(field)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise LimrError(
                f"spec.model.uri: {self._source} has {field}: {value!r}, not a whole number; "
                "it must be the config.json of a transformers model"
            )
        return value


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A model for several kinds of input has its language model's fields in a part of their own."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def _dense_layers(config: Mapping[str, Any], layers: int) -> int:
    """Layers that a model of experts keeps dense: by mlp_only_layers and decoder_sparse_step, as transformers does."""
    only, step = config.get("mlp_only_layers") or [], config.get("decoder_sparse_step") or 1
    return sum(layer in only or (layer + 1) % step > 0 for layer in range(layers))


def _sliding(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Layers whose keys and values do not grow beyond the window."""
    window = config.get("sliding_window")
    kinds = config.get("layer_types")
    if not window or config.get("use_sliding_window") is False:
        return {}
    count = kinds.count("sliding_attention") if isinstance(kinds, list) else layers
    return {"sliding_window": window, "sliding_layers": count}
