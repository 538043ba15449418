"""A part's rule once more, in the language that a cluster's API server checks at apply (CEL)."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Kubernetes writes fields of these names as __function__.
RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)

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
        """By format(): the API server cannot bound the cost of adding texts of unknown length, and refuses that."""
        values = _INSERTED.findall(self.says)
        if not values:
            return {"message": self.says}
        text = _INSERTED.sub("%s", self.says.replace("%", "%%"))
        return {"messageExpression": f"{quoted(text)}.format([{', '.join(values)}])"}


def member(path: str) -> str:
    """A path of fields as CEL selects them."""
    return ".".join(f"__{step}__" if step in RESERVED else step for step in path.split("."))


def quoted(text: str) -> str:
    """A string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
