import math

import pytest
import torch

from limr.ppo import metrics


def split_in_three(*columns):
    return zip(*(column.split([2, 5, 3]) for column in columns), strict=True)


def test_policy_metrics_example():
    tally = metrics.policy_tally(
        torch.tensor([1.0, 3.0]), torch.tensor([1.0, torch.e]), clipped=torch.tensor([False, True])
    )
    assert metrics.policy_metrics(tally) == pytest.approx(
        {
            "policy_loss": 2.0,
            "ratio_mean": (1 + torch.e) / 2,
            "ratio_max": torch.e,
            "clip_fraction": 0.5,
            "approx_kl": (torch.e - 2) / 2,
        },
        rel=1e-6,
    )


def test_experience_metrics_example():
    tally = metrics.experience_tally(torch.tensor([1.0, -0.5]), torch.tensor([2.0, 4.0]))
    assert metrics.experience_metrics(tally) == {"kl": 0.25, "kl_max": 1.0, "entropy": 3.0}


def test_sampler_metrics_example():
    sampler = torch.full((3,), -2.0)
    learner = sampler + torch.tensor([0.25, 3.0, 1.25]).log()
    found = metrics.sampler_metrics(metrics.sampler_tally(learner, sampler, low=0.5, high=2.0))
    assert found["sampler_ratio_mean"] == pytest.approx(1.5)
    assert found["sampler_ratio_max"] == pytest.approx(3)
    assert found["sampler_ratio_outside"] == pytest.approx(2 / 3)
    assert found["logprob_gap_mean"] == pytest.approx((math.log(4) + math.log(3) + math.log(1.25)) / 3)
    assert found["logprob_gap_max"] == pytest.approx(math.log(4))


def test_explained_variance_of_a_perfect_a_constant_and_a_wrong_critic():
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def explained(values):
        return metrics.value_metrics(metrics.value_tally(torch.zeros(4), values, returns))["value_explained_variance"]

    assert explained(returns) == pytest.approx(1)
    assert explained(returns + 7) == pytest.approx(1)
    assert explained(torch.full((4,), 9.0)) == pytest.approx(0)
    assert explained(-returns) == pytest.approx(-3)


@pytest.mark.parametrize("constant", [0.0, 0.1, -0.5, 0.7, 1.1])
def test_explained_variance_is_left_out_when_returns_do_not_vary(constant):
    returns = torch.full((5000,), constant)  # 0.7 and 1.1 round to a variance just above 0
    found = metrics.value_metrics(metrics.value_tally(torch.ones(5000), returns + 2, returns))
    assert "value_explained_variance" not in found
    assert found["return_mean"] == pytest.approx(constant)
    assert found["value_mean"] == pytest.approx(constant + 2)


def test_metrics_do_not_depend_on_how_tokens_are_split():
    torch.manual_seed(0)
    a, b, c = torch.randn(3, 10)
    cases = [
        (metrics.experience_tally, metrics.experience_metrics, (a, b)),
        (metrics.policy_tally, metrics.policy_metrics, (a, b.exp(), c > 0)),
        (metrics.value_tally, metrics.value_metrics, (a, b, c)),
        (lambda x, y: metrics.sampler_tally(x, y, 0.5, 5.0), metrics.sampler_metrics, (a, b)),
    ]
    for tally, finish, columns in cases:
        parts = metrics.merge([tally(*part) for part in split_in_three(*columns)])
        assert finish(parts) == pytest.approx(finish(tally(*columns)))
