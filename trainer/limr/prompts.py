"""From questions to the token ids that a model continues; the same for training and for evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from limr.dataset import Prompt
from limr.errors import LimrError
from limr.hub import loading_error
from limr.spec import PromptFormat

MAX_ROWS_SHOWN = 10


def load_tokenizer(model: str, revision: str | None) -> PreTrainedTokenizerBase:
    """Raises LimrError when the model has no usable tokenizer."""
    try:
        return AutoTokenizer.from_pretrained(model, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise loading_error("tokenizer", model, error) from error


def tokenize(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], style: PromptFormat, limit: int, name: str
) -> list[list[int]]:
    """Token ids of each prompt. Raises LimrError that names all rows of `name` with more than `limit` tokens."""
    if style.chat and not tokenizer.chat_template:
        raise LimrError("spec.model.prompt.chat: this model's tokenizer has no chat template; set chat: false")
    tokens = [_tokens(tokenizer, prompt.text, style) for prompt in prompts]
    long = [(prompt.row, len(ids)) for prompt, ids in zip(prompts, tokens, strict=True) if len(ids) > limit]
    if long:
        shown = ", ".join(f"row {row} ({count} tokens)" for row, count in long[:MAX_ROWS_SHOWN])
        more = f" and {len(long) - MAX_ROWS_SHOWN} more" if len(long) > MAX_ROWS_SHOWN else ""
        raise LimrError(
            f"{name}: {len(long)} prompts are longer than spec.ppo.maxPromptTokens = {limit}: {shown}{more}; "
            "remove them or raise the limit"
        )
    return tokens


def _tokens(tokenizer: PreTrainedTokenizerBase, question: str, style: PromptFormat) -> list[int]:
    text = style.template.replace("{prompt}", question)
    if not style.chat:
        ids: list[int] = tokenizer(text)["input_ids"]
        return ids
    system = [] if style.system is None else [{"role": "system", "content": style.system}]
    rendered = tokenizer.apply_chat_template(
        [*system, {"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return ids
