"""Who computes what: a global batch's sequences over learner ranks, and a rank's sequences over micro-batches.

Pure planning in ints. All plans are functions of the lengths alone, so every rank finds the same one by itself.
Lengths are tokens of prompt and response together.
"""

from __future__ import annotations

from collections.abc import Sequence


def balance(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Equally many sequences for each rank, with nearly equal token counts; indices ascend within a rank.

    Two ranks differ by at most longest − shortest tokens. Raises ValueError when `ranks` does not divide the count.
    """
    if len(lengths) % ranks:
        raise ValueError(f"{len(lengths)} sequences cannot be shared evenly by {ranks} ranks")
    return _deal(lengths, ranks)


def plan(lengths: Sequence[int], micro_batch_size: int, packed: bool) -> list[list[int]]:
    """Micro-batches of at most `micro_batch_size` of a rank's sequences, as lists of indices.

    Their number depends only on the count, because all ranks must make equally many forward passes (ZeRO-3 gathers
    weights in each). Padded: neighbours in length share a micro-batch, so that little is padded; longest first, so
    that memory peaks at once. Packed: nothing is padded, so token counts are evened out.
    """
    if packed:
        return _deal(lengths, -(-len(lengths) // micro_batch_size))
    order = _longest_first(lengths)
    return [order[start : start + micro_batch_size] for start in range(0, len(order), micro_batch_size)]


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def _deal(lengths: Sequence[int], bins: int) -> list[list[int]]:
    """In rounds of one sequence per bin, the round's longest to the bin with the fewest tokens so far.

    A round cannot widen the gap between two bins beyond the difference of what it deals them, which bounds the gap.
    """
    order = _longest_first(lengths)
    contents: list[list[int]] = [[] for _ in range(bins)]
    tokens = [0] * bins
    for start in range(0, len(order), bins):
        emptiest_first = sorted(range(bins), key=lambda b: (tokens[b], b))
        for b, i in zip(emptiest_first, order[start : start + bins], strict=False):
            contents[b].append(i)
            tokens[b] += lengths[i]
    return [sorted(indices) for indices in contents]
