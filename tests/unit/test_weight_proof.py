"""What counts as a proof that an engine holds the learner's weights."""

from __future__ import annotations

import numpy as np
import pytest

from limr.rollout.proof import Fingerprint, Receipt, StaleWeights

SENT = {"a": "12", "b": "34"}


@pytest.mark.parametrize(
    ("received", "differences"),
    [
        ([SENT, SENT], []),
        ([SENT, {"a": "12", "b": "35"}], ["b"]),
        ([{"a": "12"}, SENT], ["b"]),
        ([SENT | {"c": "00"}], ["c"]),
        ([{}], ["a", "b"]),
    ],
    ids=["equal", "other-bits", "missing", "never-sent", "nothing"],
)
def test_a_receipt_names_what_a_worker_got_otherwise(received: list[dict[str, str]], differences: list[str]) -> None:
    assert Receipt(SENT, received).differences() == differences


def test_a_fingerprint_bears_rounding_and_no_more() -> None:
    fingerprint = Fingerprint([1, 2, 3], np.array([-1.0, -2.0], np.float32), tolerance=0.1)
    fingerprint.check(0, np.array([-1.05, -2.05], np.float32))
    with pytest.raises(StaleWeights, match="engine 4 "):
        fingerprint.check(4, np.array([-1.5, -2.0], np.float32))
    with pytest.raises(StaleWeights):
        fingerprint.check(4, np.array([np.nan, -2.0], np.float32))


def test_a_fingerprint_survives_its_file() -> None:
    fingerprint = Fingerprint([1, 2], np.array([-0.1], np.float32), 0.5)
    again = Fingerprint.from_json(fingerprint.to_json())
    assert again.tokens == fingerprint.tokens
    assert again.tolerance == fingerprint.tolerance
    assert np.array_equal(again.logprobs, fingerprint.logprobs)
