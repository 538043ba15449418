"""When a stop lets a step end, and when the state before its updates is held aside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from limr.stopping import FINISH_SECONDS, LastStep, finish, hold, rest_seconds

seconds = some.floats(0, 1e5)


def test_a_step_whose_rest_fits_is_finished_and_a_longer_one_is_not() -> None:
    last = LastStep(training=320.0, afterwards=5.0, total=600.0)
    assert finish(rest_seconds(last, done=30, size=32, elapsed=300.0), since_stop=0.0)
    assert not finish(rest_seconds(last, done=16, size=32, elapsed=160.0), since_stop=0.0)
    assert not finish(rest_seconds(last, done=30, size=32, elapsed=300.0), since_stop=10.0)


def test_the_first_update_of_a_first_step_tells_nothing() -> None:
    assert rest_seconds(LastStep(), done=0, size=32, elapsed=1.0) is None
    assert not finish(None, since_stop=0.0)


@given(some.builds(LastStep, some.none() | seconds, seconds, seconds), some.integers(1, 64), some.data())
def test_the_rest_shrinks_to_what_follows_the_updates(last: LastStep, size: int, data: some.DataObject) -> None:
    pace = data.draw(some.floats(0.01, 100))
    rests = [rest_seconds(last, done, size, done * pace) for done in range(1, size + 1)]
    assert all(rest is not None for rest in rests)
    assert rests == sorted(rests, reverse=True, key=lambda rest: rest or 0.0)
    assert rests[-1] == last.afterwards


@given(seconds, seconds, seconds, seconds)
def test_a_state_is_held_only_where_it_is_needed_and_cheap(
    training: float, afterwards: float, total: float, holding: float
) -> None:
    last = LastStep(training, afterwards, total, holding)
    if hold(last):
        assert training + afterwards > FINISH_SECONDS, "else the step is finished"
        assert holding <= total / 20
    assert not hold(LastStep()), "a first step begins at a checkpoint"
