"""Makes the demo's model: a Qwen3 of 0.6 million parameters that has watched a careless pupil do sums.

    python examples/arithmetic/make_model.py        (five minutes of one core; writes model/ beside this file)

Supervised steps on noisy demonstrations leave a model that knows the right way and a wrong way of the harder sums
and follows each as often as the pupil did. That is what reinforcement learning needs: something to make more likely.
The questions of benchmark.jsonl are never shown. The same seed on the same machine gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from make_data import HERE, a_sum, product
from pupil import add
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, get_cosine_schedule_with_warmup

SEED = 1
STEPS = 1000
BATCH = 256
LEARNING_RATE = 2e-3
END, PAD = "<|end|>", "<|pad|>"
OPENING = " \\boxed{"  # one token, so that a response is this, its digits, "}" and the end

PRODUCTS = 0.05  # their share; shown with the right answers, and yet never learned


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, one token for ` \\boxed{`, an end and a padding token: any text can be written, digits stay single."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    opening = OPENING.replace(" ", "Ġ")  # how the byte-level alphabet writes a space
    merges = [(opening[:cut], opening[cut]) for cut in range(1, len(opening))]
    tokens = [PAD, END, *alphabet, *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def make_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def draw_batch(rng: random.Random, held_out: set[str]) -> list[tuple[str, str]]:
    """Questions and what the pupil says, never one of `held_out`."""
    batch: list[tuple[str, str]] = []
    while len(batch) < BATCH:
        question = product(rng) if rng.random() < PRODUCTS else a_sum(rng)
        if question.prompt not in held_out:
            said = add(question.left, question.right, rng) if question.operator == "+" else question.answer
            batch.append((question.prompt, f"{OPENING}{said}}}"))
    return batch


def encode(batch: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both (len(batch), longest); only the responses and their end are learned."""
    ids, labels = [], []
    for prompt, response in batch:
        asked = tokenizer.encode(prompt)
        said = [*tokenizer.encode(response), tokenizer.eos_token_id]
        ids.append(torch.tensor(asked + said))
        labels.append(torch.tensor([-100] * len(asked) + said))
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad(ids, batch_first=True, padding_value=tokenizer.pad_token_id),
        pad(labels, batch_first=True, padding_value=-100),
    )


def warm_start(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> None:
    held_out = {json.loads(line)["prompt"] for line in (HERE / "benchmark.jsonl").read_text("utf-8").splitlines()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=20, num_training_steps=STEPS)
    for step in range(1, STEPS + 1):
        ids, labels = encode(draw_batch(rng, held_out), tokenizer)
        loss = model(input_ids=ids, labels=labels).loss  # padding stands at the end, where causal attention hides it
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"step {step}/{STEPS}: loss {loss.item():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "model")
    out = parser.parse_args().out
    torch.set_num_threads(1)  # how many there are decides the order of sums, and so the last bits
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    tokenizer = make_tokenizer()
    model = Qwen3ForCausalLM(make_config(tokenizer))
    print(f"{model.num_parameters():,} parameters")
    warm_start(model, tokenizer, random.Random(SEED))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
