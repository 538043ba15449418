"""Padded and packed rows, and that losses and gradients of a real model do not depend on the layout."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from limr.ppo.layouts import pack, pad, predictors
from limr.ppo.logprobs import logprobs_and_entropy
from limr.ppo.losses import aggregate, policy_loss, value_loss
from limr.ppo.micro_batches import balance, plan

VOCABULARY = 40
LENGTHS, RESPONSES = [9, 3, 14, 5, 8, 2, 11, 6], [4, 1, 11, 2, 7, 1, 5, 3]


def test_pad_example():
    ids, positions, mask = pad([torch.tensor([7, 8, 9]), torch.tensor([5])])
    assert ids.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert positions.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_pack_example():
    ids, positions = pack([torch.tensor([7, 8, 9]), torch.tensor([5])])
    assert ids.tolist() == [[7, 8, 9, 5]]
    assert positions.tolist() == [[0, 1, 2, 0]]


def test_predictors_example():
    # Sequences of 4 and 3 tokens with responses of 2 and 1.
    lengths, responses = torch.tensor([4, 3]), torch.tensor([2, 1])
    assert [x.tolist() for x in predictors(lengths, responses, packed=False)] == [[0, 0, 1], [1, 2, 1]]
    assert [x.tolist() for x in predictors(lengths, responses, packed=True)] == [[0, 0, 0], [1, 2, 5]]


def test_predictors_refuse_a_sequence_without_a_prompt():
    with pytest.raises(ValueError, match="without a prompt token"):
        predictors(torch.tensor([4, 2]), torch.tensor([2, 2]), packed=True)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6), st.booleans())
def test_each_predictor_stands_one_before_its_token(shapes, packed):
    tokens = iter(range(1000))
    sequences = [torch.tensor([next(tokens) for _ in range(prompt + response)]) for prompt, response in shapes]
    lengths, responses = (torch.tensor(x) for x in ([p + r for p, r in shapes], [r for _, r in shapes]))
    ids = (pack(sequences) if packed else pad(sequences))[0]
    rows, columns = predictors(lengths, responses, packed)
    expected = [int(x) for s, (prompt, _) in zip(sequences, shapes, strict=True) for x in s[prompt - 1 : -1]]
    assert ids[rows, columns].tolist() == expected


class PolicyAndCritic(nn.Module):
    """A tiny random model whose hidden states give both log-probabilities and values."""

    def __init__(self, kind, attention):
        super().__init__()
        torch.manual_seed(0)
        config_class, model_class = kind
        config = config_class(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
        )
        self.policy = model_class._from_config(config, attn_implementation=attention, dtype=torch.float32)
        self.value = nn.Linear(32, 1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)  # far from uniform, so that a wrong neighbour would show

    def forward(self, sequences, responses, packed):
        ids, positions, *mask = pack(sequences) if packed else pad(sequences)
        lengths = torch.tensor([len(s) for s in sequences])
        hidden = self.policy.model(ids, *mask, position_ids=positions, use_cache=False).last_hidden_state
        at_tokens = hidden[predictors(lengths, responses, packed)]
        tokens = torch.cat([s[-n:] for s, n in zip(sequences, responses.tolist(), strict=True)])
        logp, _ = logprobs_and_entropy(self.policy.lm_head(at_tokens), tokens, 1.2, with_entropy=False)
        return logp, self.value(at_tokens).squeeze(-1)


MODELS = pytest.mark.parametrize(
    "kind", [(Qwen3Config, Qwen3ForCausalLM), (LlamaConfig, LlamaForCausalLM)], ids=["qwen3", "llama"]
)
ATTENTIONS = pytest.mark.parametrize("attention", ["sdpa", "eager"])


@pytest.fixture
def sequences():
    torch.manual_seed(1)
    return [torch.randint(VOCABULARY, (n,)) for n in LENGTHS]


@MODELS
@ATTENTIONS
@torch.no_grad()
def test_packed_padded_and_single_sequences_agree(kind, attention, sequences):
    model, responses = PolicyAndCritic(kind, attention), torch.tensor(RESPONSES)
    packed, padded = (model(sequences, responses, packed) for packed in (True, False))
    alone = [model([s], n[None], packed=False) for s, n in zip(sequences, responses, strict=True)]
    for index, result in enumerate(zip(packed, padded, strict=True)):
        expected = torch.cat([pair[index] for pair in alone])
        for found in result:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@MODELS
@ATTENTIONS
@torch.no_grad()
def test_the_mask_of_padding_may_be_left_out(kind, attention, sequences):
    model = PolicyAndCritic(kind, attention).policy.model
    ids, positions, mask = pad(sequences)
    masked, unmasked = (model(ids, m, position_ids=positions, use_cache=False)[0] for m in (mask, None))
    torch.testing.assert_close(unmasked[mask.bool()], masked[mask.bool()], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_cache_would_mix_packed_sequences(sequences):
    """Why use_cache=False is demanded; should transformers ever mend it, the demand can go."""
    model = PolicyAndCritic((LlamaConfig, LlamaForCausalLM), "sdpa").policy.model
    ids, positions = pack(sequences)
    without, with_cache = (model(ids, position_ids=positions, use_cache=cache)[0] for cache in (False, True))
    first = LENGTHS[0]
    torch.testing.assert_close(with_cache[:, :first], without[:, :first])
    assert (with_cache[:, first:] - without[:, first:]).abs().max() > 0.1


def loss_and_gradients(sequences, ranks, micro_batch_size, packed):
    """The update's loss as `ranks` learners with micro-batches would compute it, one after another."""
    model = PolicyAndCritic((Qwen3Config, Qwen3ForCausalLM), "sdpa")
    torch.manual_seed(2)
    total = sum(RESPONSES)
    old_logp, advantages, old_values, returns = (
        x.split(RESPONSES) for x in (torch.randn(total) - 4, *torch.randn(3, total))
    )
    losses = []
    for mine in balance(LENGTHS, ranks):
        for batch in plan([LENGTHS[i] for i in mine], micro_batch_size, packed):
            chosen = [mine[i] for i in batch]
            old, advantage, old_value, target = (
                torch.cat([column[i] for i in chosen]) for column in (old_logp, advantages, old_values, returns)
            )
            logp, values = model([sequences[i] for i in chosen], torch.tensor([RESPONSES[i] for i in chosen]), packed)
            per_token = policy_loss(logp, old, advantage, 0.2, 0.2, 3.0)[0]
            loss = aggregate(per_token + value_loss(values, old_value, target, 0.2), total)
            loss.backward()
            losses.append(loss.item())
    return sum(losses), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("ranks", "micro_batch_size", "packed"), [(1, 3, False), (1, 4, True), (2, 4, False), (2, 2, True), (4, 1, True)]
)
def test_an_updates_loss_and_gradients_do_not_depend_on_how_it_is_split(sequences, ranks, micro_batch_size, packed):
    whole, gradients = loss_and_gradients(sequences, ranks=1, micro_batch_size=len(sequences), packed=False)
    loss, found = loss_and_gradients(sequences, ranks, micro_batch_size, packed)
    assert loss == pytest.approx(whole, rel=1e-5)
    scale = gradients.abs().max()
    torch.testing.assert_close(found / scale, gradients / scale, rtol=1e-4, atol=1e-5)
