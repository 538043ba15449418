"""The policy and the critic as modules that answer per response token, whatever layout the tokens came in.

Only the hidden states that predict response tokens meet the vocabulary: with 152,000 entries, logits of prompts and
padding would be most of a step's memory.
"""

from __future__ import annotations

import torch
from deepspeed.utils import safe_get_full_fp32_param
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from limr.errors import LimrError
from limr.hub import load_config, loading_error
from limr.learner.layout import Layout
from limr.learner.zero import gathered
from limr.ppo.logprobs import logprobs_and_entropy

# Models, by model_type, whose forward rescales the logits by config.logits_scaling or config.logit_scale.
DIVIDES_LOGITS = ("granite", "granitemoe", "granitemoeshared", "granitemoehybrid")
MULTIPLIES_LOGITS = ("cohere", "cohere2")


class Policy(nn.Module):
    """A causal language model that returns log-probabilities of the response tokens."""

    def __init__(self, lm: PreTrainedModel) -> None:
        super().__init__()
        self.lm = lm

    def forward(
        self, layout: Layout, tokens: torch.Tensor, temperature: float, with_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(log-probabilities, entropies if asked for), float32 [N], of the N response tokens in sequence order."""
        hidden = _hidden_states(self.lm.base_model, layout)
        logits = rescaled(self.lm.get_output_embeddings()(hidden), self.lm.config.get_text_config())
        return logprobs_and_entropy(logits, tokens, temperature, with_entropy)


class Critic(nn.Module):
    """The language model's backbone and a linear head: V_t from the hidden state before token t."""

    def __init__(self, backbone: PreTrainedModel, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.config.get_text_config().hidden_size
        self.head = ValueHead(width, backbone.dtype)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            start = torch.empty(1, width).normal_(std=1 / (width + 1), generator=generator)
            self.head.weight.copy_(start)
            self.head.bias.zero_()

    def forward(self, layout: Layout) -> torch.Tensor:
        """Values, float32 [N], one for each response token in sequence order."""
        values: torch.Tensor = self.head(_hidden_states(self.backbone, layout)).squeeze(-1)
        return values


class ValueHead(nn.Linear):
    """A linear map to one value in float32, whatever the backbone's precision.

    DeepSpeed casts every parameter of a bfloat16 engine, and bfloat16 resolves values near 1 to 0.004 only. So the
    product is taken in float32, with the optimizer's float32 copy of the weights, from which DeepSpeed rounds `weight`
    and `bias` after each update: `follow_master` takes over what that rounding cut off. Gradients reach the
    parameters as before.
    """

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__(width, 1, dtype=dtype)
        self._cut_off: dict[str, torch.Tensor] = {}  # no buffers: no part of checkpoints

    def follow_master(self) -> None:
        """To be called on all ranks after each optimizer update and after a restore, once DeepSpeed has the module."""
        if self.weight.dtype is torch.float32:
            return
        with gathered([self.weight, self.bias]):
            self._cut_off = {
                name: self.master(parameter) - parameter.detach().float() for name, parameter in self.named_parameters()
            }

    @staticmethod
    def master(parameter: nn.Parameter) -> torch.Tensor:
        """The optimizer's float32 copy, whole; all ranks must call together."""
        whole: torch.Tensor = safe_get_full_fp32_param(parameter)
        return whole

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        if self._cut_off:
            weight, bias = weight + self._cut_off["weight"], bias + self._cut_off["bias"]
        return nn.functional.linear(input.float(), weight, bias)


def rescaled(logits: torch.Tensor, config: PreTrainedConfig) -> torch.Tensor:
    """What the model's own forward does with the output head's logits. [N, V]

    Source: the forward methods of transformers' GraniteForCausalLM, CohereForCausalLM and Gemma3ForCausalLM.
    """
    if config.model_type in DIVIDES_LOGITS:
        logits = logits / config.logits_scaling
    if config.model_type in MULTIPLIES_LOGITS:
        logits = logits * config.logit_scale
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def _refusal(config: PreTrainedConfig) -> str | None:
    """Why the learner's log-probabilities would come out wrong, if they would."""
    known = {"logits_scaling": DIVIDES_LOGITS, "logit_scale": MULTIPLIES_LOGITS}
    for setting, model_types in known.items():
        if getattr(config, setting, None) not in (None, 1, 1.0) and config.model_type not in model_types:
            return f"rescales its logits ({setting})"
    if getattr(config, "attn_logit_softcapping", None) is not None:  # SDPA and flash attention leave it out silently
        return "caps its attention scores (attn_logit_softcapping)"
    return None


def _hidden_states(backbone: nn.Module, layout: Layout) -> torch.Tensor:
    """Last hidden states [N, width] at the positions that predict a response token."""
    # No attention mask: nothing looks to the right, where padding is, and packed sequences are kept apart by positions
    # that start again (which transformers heeds only without a mask and without a cache).
    output = backbone(input_ids=layout.ids, position_ids=layout.positions, use_cache=False)
    hidden: torch.Tensor = output.last_hidden_state[layout.rows, layout.columns]
    return hidden


def load_language_model(path: str, revision: str | None, dtype: str) -> PreTrainedModel:
    """Raises LimrError when the model cannot be loaded or is of a kind whose log-probabilities would come out wrong."""
    return _load(AutoModelForCausalLM, path, revision, dtype)


def load_backbone(path: str, revision: str | None, dtype: str) -> PreTrainedModel:
    return _load(AutoModel, path, revision, dtype)


def _load(
    kind: type[AutoModel] | type[AutoModelForCausalLM], path: str, revision: str | None, dtype: str
) -> PreTrainedModel:
    config = load_config(path, revision)
    try:
        model = kind.from_pretrained(path, revision=revision, config=config, dtype=getattr(torch, dtype))
    except (OSError, ValueError, KeyError) as error:
        raise loading_error("model", path, error) from error
    if refusal := _refusal(config.get_text_config()):
        raise LimrError(
            f"spec.model.uri: {path!r} {refusal} in a way that the learner does not; choose a model without it"
        )
    return model
