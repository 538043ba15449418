"""Chunks of tensors and their checksums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limr.tensors import ALIGNMENT, CHECKSUM_BLOCK, ChecksumTable, TensorInfo, checksum, pack, unpack

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8]


@st.composite
def tensors(draw: st.DrawFn) -> list[tuple[str, torch.Tensor]]:
    shapes = draw(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return [
        (f"tensor.{i}", (torch.randn(shape, generator=generator) * 50).to(draw(st.sampled_from(DTYPES))))
        for i, shape in enumerate(shapes)
    ]


@given(tensors(), st.integers(1, 2000))
def test_chunks_hold_every_tensor_within_their_limit(named: list[tuple[str, torch.Tensor]], limit: int) -> None:
    got = []
    for infos, buffer in pack(iter(named), limit):
        assert len(buffer) == sum(info.padded_bytes for info in infos)
        assert len(buffer) <= limit or len(infos) == 1
        got += unpack(infos, buffer)
    assert [name for name, _ in got] == [name for name, _ in named]
    for (_, before), (_, after) in zip(named, got, strict=True):
        assert before.dtype == after.dtype
        assert torch.equal(before, after)


def test_a_tensor_that_is_not_contiguous_is_packed_in_its_own_order() -> None:
    tensor = torch.arange(12.0).reshape(3, 4).T
    ((infos, buffer),) = pack([("a", tensor)], 1 << 10)
    assert torch.equal(unpack(infos, buffer)[0][1], tensor)


@given(st.binary(min_size=8, max_size=400), st.data())
def test_any_flipped_bit_changes_the_checksum(content: bytes, data: st.DataObject) -> None:
    words = bytearray(content[: len(content) // 8 * 8])
    before = checksum(torch.frombuffer(bytearray(words), dtype=torch.uint8))
    bit = data.draw(st.integers(0, 8 * len(words) - 1))
    words[bit // 8] ^= 1 << bit % 8
    assert not torch.equal(checksum(torch.frombuffer(words, dtype=torch.uint8)), before)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_the_checksum_is_the_formula_modulo_2_to_the_64(words: list[int]) -> None:
    expected = [sum(words), sum(place * word for place, word in enumerate(words, start=1))]
    got = checksum(torch.tensor(words, dtype=torch.int64).view(torch.uint8)).tolist()
    assert [value % 2**64 for value in got] == [value % 2**64 for value in expected]


@pytest.mark.parametrize("length", [CHECKSUM_BLOCK - 1, CHECKSUM_BLOCK, CHECKSUM_BLOCK + 1, 2 * CHECKSUM_BLOCK + 7])
def test_the_checksum_does_not_depend_on_the_block_it_works_on(length: int) -> None:
    words = torch.randint(-(2**62), 2**62, (length,), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(1, length + 1)
    assert checksum(words.view(torch.uint8)).tolist() == [words.sum().item(), (words * positions).sum().item()]


def test_exchanged_words_change_the_checksum() -> None:
    words = torch.tensor([3, 1, 2], dtype=torch.int64)
    assert not torch.equal(checksum(words.view(torch.uint8)), checksum(words.flip(0).view(torch.uint8)))


def test_a_table_names_each_tensor_once() -> None:
    table = ChecksumTable()
    assert table.result() == {}
    ((infos, buffer),) = pack([("a", torch.ones(3)), ("b", torch.zeros(5))], 1 << 10)
    table.add(infos, buffer)
    result = table.result()
    assert list(result) == ["a", "b"]
    assert result["b"] == "0" * 32 != result["a"]


def test_a_tensor_takes_a_whole_number_of_aligned_words() -> None:
    assert TensorInfo("a", "bfloat16", (33,)).padded_bytes == 2 * ALIGNMENT
    assert TensorInfo("a", "float32", ()).padded_bytes == ALIGNMENT
    assert TensorInfo("a", "float32", (0, 4)).padded_bytes == 0
