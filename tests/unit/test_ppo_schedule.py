from itertools import pairwise

import pytest

from limr.ppo.schedule import learning_rate_factor


def test_example():
    factors = [learning_rate_factor(update, 8, 4, 0.1) for update in range(1, 10)]
    # cos(π·(1/4, 1/2, 3/4, 1)) = (0.70711, 0, −0.70711, −1)
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.868198, 0.55, 0.231802, 0.1, 0.1], abs=1e-6)


def test_without_warm_up_it_only_falls_and_ends_at_the_minimum():
    factors = [learning_rate_factor(update, 100, 0, 0.1) for update in range(1, 101)]
    assert all(later < earlier for earlier, later in pairwise(factors))
    assert factors[0] < 1
    assert factors[-1] == pytest.approx(0.1)


def test_a_run_shorter_than_its_warm_up_only_rises():
    assert [learning_rate_factor(update, 3, 10, 0.1) for update in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.3])
    assert learning_rate_factor(10, 10, 10, 0.1) == 1.0


def test_a_minimum_of_1_keeps_the_rate():
    assert [learning_rate_factor(update, 5, 0, 1.0) for update in range(1, 6)] == [1.0] * 5
