from limr.reward.cache import MAX_CHARACTERS, GradeCache
from limr.reward.verdict import Grade, Verdict

CORRECT, WRONG, TIMEOUT = Grade(Verdict.CORRECT, 1), Grade(Verdict.WRONG, -0.5), Grade(Verdict.TIMEOUT, -1, "late")


def test_forgets_what_was_unused_longest() -> None:
    cache = GradeCache(max_entries=2)
    cache.put(("1", "1"), CORRECT)
    cache.put(("2", "1"), WRONG)
    assert cache.get(("1", "1")) == CORRECT
    cache.put(("3", "1"), TIMEOUT)
    assert cache.get(("2", "1")) is None
    assert cache.get(("1", "1")) == CORRECT
    assert cache.get(("3", "1")) == TIMEOUT


def test_answer_and_reference_are_not_exchanged() -> None:
    cache = GradeCache()
    cache.put(("1", "2"), WRONG)
    assert cache.get(("2", "1")) is None


def test_keeps_no_long_texts() -> None:
    cache = GradeCache()
    long = ("1" * MAX_CHARACTERS, "1")
    cache.put(long, WRONG)
    assert cache.get(long) is None
