"""Every strategy's scores against plain Python, and what must hold for all trainings."""

from __future__ import annotations

import statistics
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_samples import Sample, matrix_of, naive_lim, samples_of_curves, trainings

from limr.dataset import prompt_id
from limr.errors import LimrError
from limr.selection import registry
from limr.selection.accuracy import AccuracyMatrix
from limr.selection.pick import Rule, check, pick, rounded
from limr.selection.strategy import Parameter, Request, Scores, Strategy, complete_parameters
from limr.spec import Reading


def scores_of(
    name: str, matrix: AccuracyMatrix, reading: Reading = Reading.CODE, seed: int = 1, **given: Parameter
) -> Scores:
    strategy = registry.find(name)
    return strategy.score(Request(matrix.prompt_ids, matrix, complete_parameters(strategy, given), reading, seed))


def by_prompt(samples: list[Sample], matrix: AccuracyMatrix, scores: Scores) -> dict[str, float]:
    """prompt -> score of the prompts that have one."""
    text = {prompt_id(sample.prompt): sample.prompt for sample in samples}
    values = zip(matrix.prompt_ids, scores.values.tolist(), strict=True)
    return {text[name]: value for name, value in values if value == value}


@given(trainings(), st.sampled_from(list(Reading)))
def test_lim_equals_plain_python(samples: list[Sample], reading: Reading) -> None:
    matrix = matrix_of(samples)
    scored = by_prompt(samples, matrix, scores_of("lim", matrix, reading))
    assert scored == pytest.approx(naive_lim(samples, reading.value), rel=1e-9, abs=1e-9)


@given(trainings())
def test_the_readings_code_and_paper_agree_where_every_failure_costs_the_same(samples: list[Sample]) -> None:
    """The reward is then an affine function of the correctness, and LIM does not change under those."""
    matrix = matrix_of([sample._replace(reward=1.0 if sample.reward == 1 else -0.5) for sample in samples])
    code, paper = scores_of("lim", matrix, Reading.CODE), scores_of("lim", matrix, Reading.PAPER)
    np.testing.assert_allclose(paper.values, code.values, rtol=1e-9, atol=1e-9)
    assert paper.never_solved == pytest.approx(code.never_solved)
    assert paper.strict
    assert not code.strict


@given(trainings())
def test_corrected_never_selects_what_is_never_or_always_solved(samples: list[Sample]) -> None:
    matrix = matrix_of(samples)
    scores = scores_of("lim", matrix, Reading.CORRECTED)
    trivial = matrix.never_solved | matrix.always_solved
    assert not pick(scores, Rule(threshold=-1e9))[trivial].any()
    assert (scores.values[trivial & ~np.isnan(scores.values)] <= 1e-12).all()


def test_corrected_is_the_code_reading_in_a_strong_run_without_gaps() -> None:
    rng = np.random.default_rng(3)
    curves = {f"p{number}": rng.integers(4, 9, 9) / 8 for number in range(20)}
    matrix = matrix_of(samples_of_curves(curves))
    assert matrix.average.min() > 0.5
    np.testing.assert_allclose(
        scores_of("lim", matrix, Reading.CORRECTED).values, scores_of("lim", matrix).values, rtol=1e-12
    )


def test_the_trap_and_its_repair() -> None:
    """In a weak run the published formula selects what is never solved, and the corrected reading does not."""
    curves = {f"never{number}": [0.0] * 6 for number in range(6)} | {
        f"learned{number}": [0, 0.125, 0.25, 0.375, 0.5, 0.5] for number in range(3)
    }
    samples = samples_of_curves(curves)
    matrix = matrix_of(samples)
    code = scores_of("lim", matrix)
    scored = by_prompt(samples, matrix, code)
    assert scored["never0"] > 0.6
    assert scored["never0"] == pytest.approx(code.never_solved)
    assert pick(code, Rule(0.6))[matrix.never_solved].all()
    assert not pick(scores_of("lim", matrix, Reading.CORRECTED), Rule(0.6))[matrix.never_solved].any()


def test_an_always_solved_prompt_scores_exactly_zero() -> None:
    samples = samples_of_curves({"always": [1, 1, 1], "half": [0.5, 0.5, 0.5], "rising": [0, 0.5, 1]})
    matrix = matrix_of(samples)
    assert by_prompt(samples, matrix, scores_of("lim", matrix))["always"] == pytest.approx(0, abs=1e-15)
    everyone = matrix_of(samples_of_curves({"a": [1, 1], "b": [1, 1]}))
    for reading in Reading:
        assert scores_of("lim", everyone, reading).values.tolist() == [0, 0]
    nobody = matrix_of(samples_of_curves({"a": [0, 0], "b": [0, 0]}))
    assert scores_of("lim", nobody, Reading.CORRECTED).values.tolist() == [0, 0]


@given(trainings())
def test_linear_is_the_correlation_with_the_epoch(samples: list[Sample]) -> None:
    matrix = matrix_of(samples)
    scores = scores_of("linear", matrix).values
    for curve, score in zip(matrix.accuracy, scores, strict=True):
        points = [(epoch, accuracy) for epoch, accuracy in enumerate(curve.tolist(), 1) if accuracy == accuracy]
        if len(points) < 3:
            assert np.isnan(score)
        elif len({accuracy for _, accuracy in points}) == 1:
            assert score == 0
        else:
            assert score == pytest.approx(statistics.correlation(*zip(*points, strict=True)), abs=1e-9)


@given(trainings())
def test_variance_is_that_of_the_epochs_seen(samples: list[Sample]) -> None:
    matrix = matrix_of(samples)
    for curve, score in zip(matrix.accuracy, scores_of("variance", matrix).values, strict=True):
        seen = [accuracy for accuracy in curve.tolist() if accuracy == accuracy]
        if len(seen) < 2:
            assert np.isnan(score)
        else:
            assert score == pytest.approx(statistics.pvariance(seen), abs=1e-9)


def test_passrate_keeps_the_band_with_its_ends() -> None:
    rates = {"p0": 0.0, "p1": 0.125, "p2": 0.25, "p4": 0.5, "p6": 0.75, "p8": 1.0}
    samples = samples_of_curves({name: [1 - rate, rate, rate] for name, rate in rates.items()})
    matrix = matrix_of(samples)
    scores = scores_of("passrate", matrix, low=0.125, high=0.75, last=2)
    kept = {name for name, keep in zip(matrix.prompt_ids, pick(scores, Rule()), strict=True) if keep}
    assert kept == {prompt_id(name) for name in ("p1", "p2", "p4", "p6")}
    assert by_prompt(samples, matrix, scores)["p4"] == max(scores.values)  # nearest to the middle
    with pytest.raises(LimrError, match=r"low 0.8, high 0.2, last 0 make no band"):
        scores_of("passrate", matrix, low=0.8, high=0.2)


def test_random_draws_without_replacement_and_nested() -> None:
    matrix = matrix_of([Sample(f"p{number}", 1, 1.0) for number in range(500)])
    few, many = (pick(scores_of("random", matrix, seed=3), Rule(count=count)) for count in (50, 200))
    assert (few.sum(), many.sum(), (few & many).sum()) == (50, 200, 50)
    assert (pick(scores_of("random", matrix, seed=3), Rule(count=50)) == few).all()
    assert (pick(scores_of("random", matrix, seed=4), Rule(count=50)) != few).any()


def test_random_is_uniform() -> None:
    request = Request([f"p{number:02}" for number in range(20)], None, {}, Reading.CODE, 0)
    strategy = registry.find("random")
    drawn = np.zeros(20)
    for seed in range(2000):
        scores = strategy.score(Request(request.prompt_ids, None, {}, Reading.CODE, seed))
        drawn += pick(scores, Rule(count=5))
    assert (abs(drawn / 2000 - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)).all()


def test_ties_go_to_the_smaller_id() -> None:
    scores = Scores(np.array([0.5, 0.9, 0.9, 0.9, np.nan]), np.array([True, True, False, True, True]))
    assert np.flatnonzero(pick(scores, Rule(count=1))).tolist() == [1]
    assert np.flatnonzero(pick(scores, Rule(count=2))).tolist() == [1, 3]
    assert np.flatnonzero(pick(scores, Rule(threshold=0.6, count=3))).tolist() == [1, 3]
    many = Scores(np.tile([0.5, 0.7, 0.6], 500), np.ones(1500, np.bool_))
    assert np.flatnonzero(pick(many, Rule(count=200))).tolist() == list(range(1, 600, 3))


def test_code_keeps_the_threshold_and_paper_does_not() -> None:
    values, every = np.array([0.6, 0.61, 0.59]), np.ones(3, np.bool_)
    assert pick(Scores(values, every), Rule(0.6)).tolist() == [True, True, False]
    assert pick(Scores(values, every, strict=True), Rule(0.6)).tolist() == [False, True, False]


def test_scores_are_rounded_as_a_person_does() -> None:
    assert rounded(np.array([0.595, 0.5951, 0.604, 2.675]), 2).tolist() == [0.59, 0.6, 0.6, 2.67]
    assert np.isnan(rounded(np.array([np.nan]), 2)).all()


@given(st.lists(st.floats(-5, 1), min_size=1, max_size=60), st.booleans())
def test_the_suggested_threshold_selects_a_tenth(values: list[float], strict: bool) -> None:
    scores = Scores(np.array(values), np.ones(len(values), np.bool_), strict)
    rule = Rule(threshold=2.0)
    with pytest.raises(LimrError, match="threshold 2 selects nothing: scores go from") as caught:
        check(scores, pick(scores, rule), rule, "lim")
    suggested = float(str(caught.value).split("; ")[1].split()[0])
    assert pick(scores, Rule(threshold=suggested)).sum() >= len(values) / 10


def test_a_count_that_cannot_be_reached_is_refused() -> None:
    scores = Scores(np.array([0.1, 0.9]), np.ones(2, np.bool_))
    rule = Rule(threshold=0.5, count=2)
    with pytest.raises(LimrError, match="lim can select only 1 prompts, not 2"):
        check(scores, pick(scores, rule), rule, "lim")
    with pytest.raises(LimrError, match="lim can select no prompt: of 2 scored ones none may be selected"):
        check(Scores(scores.values, np.zeros(2, np.bool_)), np.zeros(2, np.bool_), Rule(0.5), "lim")


def test_unknown_strategies_and_parameters_are_explained() -> None:
    with pytest.raises(LimrError, match=r"no strategy 'variety', did you mean 'variance'\? \(strategies: lim, linear"):
        registry.find("variety")
    passrate = registry.find("passrate")
    with pytest.raises(LimrError, match=r"no parameter 'lo', did you mean 'low'\? \(parameters: low, high, last\)"):
        complete_parameters(passrate, {"lo": 0.1})
    with pytest.raises(LimrError, match=r"'low' is 'x'; write one like 0.2"):
        complete_parameters(passrate, {"low": "x"})
    with pytest.raises(LimrError, match=r"'last' is 1.5; write one like 0"):
        complete_parameters(passrate, {"last": 1.5})
    with pytest.raises(LimrError, match=r"lim has no parameter 'low' \(parameters: it has none\)"):
        complete_parameters(registry.find("lim"), {"low": 0.1})


def test_installed_packages_add_strategies(monkeypatch: pytest.MonkeyPatch) -> None:
    points = metadata.EntryPoints(
        metadata.EntryPoint(name, value, registry.GROUP)
        for name, value in {
            "newest": f"{__name__}:NEWEST",
            "lim": f"{__name__}:NEWEST",
            "wrong": f"{__name__}:by_prompt",
            "gone": f"{__name__}:nothing",
        }.items()
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    assert registry.find("newest") is NEWEST
    assert registry.find("lim") is not NEWEST
    with pytest.raises(LimrError, match=r"strategy 'wrong': .* is no limr.selection.strategy.Strategy"):
        registry.find("wrong")
    with pytest.raises(LimrError, match=r"strategy 'gone' of entry point .* cannot be loaded"):
        registry.find("gone")


NEWEST = Strategy(
    "newest", lambda request: Scores(np.arange(len(request.prompt_ids)) * 1.0, np.ones(len(request.prompt_ids), bool))
)
