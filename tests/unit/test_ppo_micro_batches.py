import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.ppo.micro_batches import balance, plan

LENGTHS = st.lists(st.integers(2, 4096), min_size=1, max_size=40)


def tokens(lengths, indices):
    return sum(lengths[i] for i in indices)


def everyone_once(lengths, lists):
    return sorted(i for indices in lists for i in indices) == list(range(len(lengths)))


def test_balance_example():
    # Longest first: 9 and 8 to ranks 0 and 1; then 5 to the lighter rank 1, 1 to rank 0.
    assert balance([1, 9, 8, 5], 2) == [[0, 1], [2, 3]]
    assert balance([4, 4, 4, 4], 2) == [[0, 2], [1, 3]]


@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_balance_deals_everyone_once_equally_many_and_nearly_equal_tokens(ranks, each, data):
    lengths = data.draw(st.lists(st.integers(2, 4096), min_size=ranks * each, max_size=ranks * each))
    dealt = balance(lengths, ranks)
    assert everyone_once(lengths, dealt)
    assert [len(indices) for indices in dealt] == [each] * ranks
    loads = [tokens(lengths, indices) for indices in dealt]
    assert max(loads) - min(loads) <= max(lengths) - min(lengths)


def test_balance_refuses_an_uneven_share():
    with pytest.raises(ValueError, match="5 sequences cannot be shared evenly by 2"):
        balance([1, 2, 3, 4, 5], 2)


def test_padded_plan_puts_neighbours_in_length_together_longest_first():
    assert plan([3, 100, 4, 90, 5], 2, packed=False) == [[1, 3], [4, 2], [0]]


def test_packed_plan_evens_out_tokens():
    # 100, 90, 5 to a micro-batch each; then 4 to the emptiest, 3 to the next: 100, 93 and 9 tokens.
    assert plan([3, 100, 4, 90, 5], 2, packed=True) == [[1], [0, 3], [2, 4]]


@given(LENGTHS, st.integers(1, 8), st.booleans())
def test_a_plan_holds_everyone_once_in_as_few_micro_batches_as_possible(lengths, size, packed):
    batches = plan(lengths, size, packed)
    assert everyone_once(lengths, batches)
    assert len(batches) == -(-len(lengths) // size)
    assert all(0 < len(batch) <= size for batch in batches)
    if packed:
        loads = [tokens(lengths, batch) for batch in batches]
        assert max(loads) - min(loads) <= max(lengths)


def padding_share(lengths, micro_batches):
    """The share of positions that hold no token when each micro-batch is padded to its longest sequence."""
    positions = sum(len(batch) * max(lengths[i] for i in batch) for batch in micro_batches)
    return 1 - sum(lengths[i] for batch in micro_batches for i in batch) / positions


@given(st.integers(1, 8), st.integers(1, 6), st.data())
def test_full_buckets_never_pad_more_than_another_grouping(size, count, data):
    lengths = data.draw(st.lists(st.integers(2, 4096), min_size=size * count, max_size=size * count))
    order = data.draw(st.permutations(range(len(lengths))))
    other = [order[start : start + size] for start in range(0, len(order), size)]
    assert padding_share(lengths, plan(lengths, size, packed=False)) <= padding_share(lengths, other) + 1e-12
