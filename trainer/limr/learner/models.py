"""The policy and the critic as modules that answer per response token, whatever layout the tokens came in.

Only the hidden states that predict response tokens meet the vocabulary: with 152,000 entries, logits of prompts and
padding would be most of a step's memory.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel

from limr.errors import LimrError
from limr.hub import load_config, loading_error
from limr.learner.layout import Layout
from limr.ppo.logprobs import logprobs_and_entropy


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
        logits = self.lm.get_output_embeddings()(hidden)
        return logprobs_and_entropy(logits, tokens, temperature, with_entropy)


class Critic(nn.Module):
    """The language model's backbone and a linear head: V_t from the hidden state before token t."""

    def __init__(self, backbone: PreTrainedModel, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.config.get_text_config().hidden_size
        self.head = nn.Linear(width, 1, dtype=backbone.dtype)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            start = torch.empty(1, width).normal_(std=1 / (width + 1), generator=generator)
            self.head.weight.copy_(start)
            self.head.bias.zero_()

    def forward(self, layout: Layout) -> torch.Tensor:
        """Values, float32 [N], one for each response token in sequence order."""
        values: torch.Tensor = self.head(_hidden_states(self.backbone, layout)).squeeze(-1)
        return values.float()


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
    for setting in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config.get_text_config(), setting, None) not in (None, 1, 1.0):
            raise LimrError(
                f"spec.model.uri: {path!r} rescales its logits ({setting}), which the learner does not do yet; "
                "choose a model without it"
            )
    return model
