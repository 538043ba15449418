"""How the engines prove that they hold the weights they were sent.

Two proofs, at every sync. A checksum of every tensor shows that each worker process got the sender's very bits. A
fingerprint, log-probabilities of a fixed text, shows that the engine took them for what they are: names, shapes and
the model's code agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limr.errors import LimrError

Checksums = dict[str, str]  # hexadecimal, by tensor, as limr.tensors computes them


class StaleWeights(LimrError):
    """After a sync an engine does not hold the learner's weights, or does not answer as it does."""

    reason = "StaleWeights"


@dataclass(frozen=True)
class Receipt:
    """What one engine got of one transfer."""

    sent: Checksums
    received: Sequence[Checksums]  # by worker process of the engine

    def differences(self) -> list[str]:
        """Names of the tensors that some worker did not receive as they were sent, and of those that nobody sent."""
        return sorted({name for worker in self.received for name, _ in self.sent.items() ^ worker.items()})


def corrupted(engine: int, differences: Sequence[str]) -> str:
    count = "1 tensor" if len(differences) == 1 else f"{len(differences)} tensors"
    return f"engine {engine} received {count} with other bits than were sent, among them {differences[0]!r}"


@dataclass(frozen=True)
class Fingerprint:
    """Log-probabilities that the learner gives a fixed text at some version: the engine must give the same."""

    tokens: list[int]
    logprobs: NDArray[np.float32]  # float32 [len(tokens) − 1]
    tolerance: float  # on the mean absolute difference

    def check(self, engine: int, logprobs: NDArray[np.float32]) -> None:
        """Raises StaleWeights when the engine's log-probabilities of the text differ from the learner's."""
        difference = float(np.abs(logprobs - self.logprobs).mean())
        if not difference <= self.tolerance:
            raise StaleWeights(
                f"engine {engine} was given new weights, but its log-probabilities differ from the learner's by "
                f"{difference:.3g} on average (allowed: {self.tolerance:g}); its weights are stale or were loaded "
                "under wrong names: check that vLLM supports this architecture as transformers does"
            )

    def to_json(self) -> str:
        return json.dumps({"tokens": self.tokens, "logprobs": self.logprobs.tolist(), "tolerance": self.tolerance})

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        fields = json.loads(text)
        return cls(fields["tokens"], np.array(fields["logprobs"], np.float32), fields["tolerance"])
