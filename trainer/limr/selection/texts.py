"""Prompt ids for prompts that are given as texts; on request each text is kept, once, to be written out again."""

from __future__ import annotations

from functools import lru_cache

from limr import dataset

_prompt_id = lru_cache(maxsize=4096)(dataset.prompt_id)  # samples of one prompt follow each other


class Texts:
    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self.by_id: dict[str, str] = {}

    def prompt_id(self, text: str) -> str:
        """`text` must have no problem."""
        identity = _prompt_id(text)
        if self._keep:
            self.by_id.setdefault(identity, text)
        return identity
