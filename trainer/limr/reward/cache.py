"""Grades already given, so that an answer that many samples share is compared once."""

from __future__ import annotations

from collections import OrderedDict

from limr.reward.verdict import Grade

MAX_ENTRIES = 65_536
MAX_CHARACTERS = 1_000  # of a pair; longer ones hardly come twice. So the cache stays below about 100 MB.

Pair = tuple[str, str]  # answer, reference


class GradeCache:
    """Forgets what was not asked for longest."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._grades: OrderedDict[Pair, Grade] = OrderedDict()

    def get(self, pair: Pair) -> Grade | None:
        grade = self._grades.get(pair)
        if grade is not None:
            self._grades.move_to_end(pair)
        return grade

    def put(self, pair: Pair, grade: Grade) -> None:
        if len(pair[0]) + len(pair[1]) > MAX_CHARACTERS:
            return
        self._grades[pair] = grade
        if len(self._grades) > self._max_entries:
            self._grades.popitem(last=False)
