"""Bytes that a forward and a backward pass keep, by the operations of transformers' models.

All sizes are for one micro-batch of T tokens, n of them of responses; w is the bytes of one weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from limr.sizing.architecture import Architecture

# limr.ppo.logprobs works on so many logits at a time in float32.
LOGPROB_CHUNK = 1 << 24


@dataclass(frozen=True)
class MicroBatch:
    tokens: int  # T, padding included
    response_tokens: int  # n
    row: int  # tokens that attention compares with each other: of one sequence padded, of all packed


def kept_by_layer(model: Architecture, w: int, masked: bool) -> int:
    """Bytes per token that one layer keeps for its backward pass.

    Norms: input, normalized input and output, in float32 where they compute so; attention: query, key, value (key and
    value repeated for each query head where a mask rules out grouped attention) and output; MLP: gate, its activation,
    up and their product, for each expert that a token goes to.
    """
    norm = model.hidden * (12 if w == 4 else 4 + 2 * w)
    kv = model.query_width if masked else model.kv_width
    attention = w * (2 * model.query_width + 2 * kv)
    if model.trait.qk_norm:
        attention += 8 * (model.query_width + model.kv_width)
    experts = max(1, model.experts_per_token)
    mlp = w * 4 * model.intermediate * experts
    if model.experts:
        mlp += w * 2 * model.hidden * experts  # each expert's copy of its tokens, and its output
    return model.trait.norms * norm + attention + mlp


def backward_of_layer(model: Architecture, w: int) -> int:
    """Bytes per token of the gradients that are alive at once within a layer's backward pass."""
    return w * (2 * model.hidden + 3 * model.intermediate * max(1, model.experts_per_token))


def attention_mask(micro: MicroBatch, masked: bool) -> int:
    """Of a packed row: one byte and, as it is added to the scores, one float32 for each pair of its tokens."""
    return 5 * micro.row**2 if masked else 0


def kept(model: Architecture, micro: MicroBatch, w: int, checkpointing: bool, masked: bool) -> int:
    """Bytes that the backbone keeps for its backward pass; with checkpointing only what enters each layer."""
    per_token = w * model.hidden if checkpointing else kept_by_layer(model, w, masked)
    return micro.tokens * (model.layers * per_token + 3 * w * model.hidden)


def layer_again(model: Architecture, micro: MicroBatch, w: int, checkpointing: bool, masked: bool) -> int:
    """Bytes of one layer's backward pass, with what it computes again under checkpointing."""
    again = kept_by_layer(model, w, masked) if checkpointing else 0
    return micro.tokens * (again + backward_of_layer(model, w))


def logits(model: Architecture, micro: MicroBatch, w: int) -> int:
    """Bytes of one copy of the response tokens' logits."""
    return micro.response_tokens * model.vocabulary * w


def logprob_chunks(model: Architecture, micro: MicroBatch) -> int:
    """Bytes of the two float32 copies of a chunk of logits."""
    rows = max(1, LOGPROB_CHUNK // model.vocabulary)
    return 2 * 4 * min(rows, micro.response_tokens) * model.vocabulary
