"""A part's rule once more, in the language that a cluster's API server checks at apply (CEL)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_INSERTED = re.compile(r"\$\{(.*?)\}")


@dataclass(frozen=True)
class Cel:
    """`holds` and what `${…}` in `says` encloses are CEL over `self`, the part; `at` is a field below it."""

    holds: str
    says: str  # as the validator says it, in one line
    at: str = ""

    def to_json(self) -> dict[str, str]:
        """As an entry of x-kubernetes-validations."""
        where = {"fieldPath": f".{self.at}"} if self.at else {}
        return {"rule": self.holds, **self._message(), **where}

    def _message(self) -> dict[str, str]:
        pieces = _INSERTED.split(self.says)
        if len(pieces) == 1:
            return {"message": self.says}
        shown = [f"string({piece})" if index % 2 else quoted(piece) for index, piece in enumerate(pieces) if piece]
        return {"messageExpression": " + ".join(shown)}


def quoted(text: str) -> str:
    """A string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
