"""Numbers for prompt ids: 0, 1, 2, … in order of first appearance, for millions of names at a time.

Our own ids are 16 hex digits. They are handled as 64-bit integers, which Arrow hashes about five times faster than
strings; with the first id of another form the index turns to strings for good.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

HEX_DIGITS = 16


class PromptIndex:
    def __init__(self) -> None:
        self._keys = pa.array([], pa.uint64())  # in order of first appearance, each once

    def __len__(self) -> int:
        return len(self._keys)

    def encode(self, names: list[Any]) -> NDArray[np.int32]:
        """The numbers of all ids in `names`, a list of string arrays without nulls, one after the other.

        Every call hashes the ids that are known already once more: hand over several times as many as there are.
        """
        keys = self._same_form(names)
        encoded = pa.concat_arrays([self._keys, *keys]).dictionary_encode()
        known, self._keys = len(self._keys), encoded.dictionary
        codes: NDArray[np.int32] = encoded.indices.to_numpy()[known:]
        return codes

    def ordered(self) -> tuple[list[str], NDArray[np.intp]]:
        """The ids in ascending order, and the number of each."""
        order = pc.sort_indices(self._keys)
        return _unpack(self._keys.take(order)).to_pylist(), order.to_numpy().astype(np.intp)

    def _same_form(self, names: list[Any]) -> list[Any]:
        if pa.types.is_uint64(self._keys.type):
            packed = [_pack(array) for array in names]
            if all(array is not None for array in packed):
                return packed
            self._keys = _unpack(self._keys)
        return names


def _pack(names: Any) -> Any | None:
    """The ids as 64-bit integers; None unless all are 16 lower-case hex digits, so that packing loses nothing."""
    if not len(names):
        return pa.array([], pa.uint64())
    ends = np.frombuffer(names.buffers()[1], np.int32)[names.offset : names.offset + len(names) + 1]
    if not (np.diff(ends) == HEX_DIGITS).all():
        return None
    text = names.buffers()[2].slice(ends[0], ends[-1] - ends[0]).to_pybytes()
    try:
        raw = bytes.fromhex(text.decode("ascii"))
    except ValueError:  # other characters than hex digits, or than ASCII
        return None
    return pa.array(np.frombuffer(raw, ">u8").astype(np.uint64)) if raw.hex().encode() == text else None


def _unpack(keys: Any) -> Any:
    """The inverse of _pack, which keeps the order; strings stay as they are."""
    if not pa.types.is_uint64(keys.type):
        return keys
    text = keys.to_numpy().astype(">u8").tobytes().hex().encode()
    ends = np.arange(len(keys) + 1, dtype=np.int32) * HEX_DIGITS
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(ends), pa.py_buffer(text))
