"""Credentials kept out of what others may read: logs, statuses, events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

MASK = "***"
SHORTEST = 6  # characters; shorter values are words such as `true`, also in variables with such names
_NAMES = re.compile(r"(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|KEY|CONNECTION_STRING)$", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s/\"'<>]+@")


class Mask:
    """Replaces the values of an environment's credentials, known by their names, and the user and password of URLs."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = [value for name, value in environment.items() if _NAMES.search(name)]
        words = {word for value in values for word in value.splitlines() if len(word) >= SHORTEST}
        words |= {quote(word, safe="") for word in words}
        longest_first = sorted(words, key=lambda word: (-len(word), word))
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if words else None

    def __call__(self, text: str) -> str:
        if self._secrets:
            text = self._secrets.sub(MASK, text)
        return _USER_INFO.sub(f"{MASK}@", text) if "@" in text else text
