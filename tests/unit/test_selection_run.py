"""A selection from end to end: what is kept, what is counted, and when it is not to be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from selection_samples import Sample, matrix_of, samples_of_curves

from limr import dataset as datasets
from limr.dataset import Dataset, prompt_id
from limr.errors import LimrError
from limr.selection import output, trust
from limr.selection.run import ONLY_SCORES, Selection, select
from limr.selection.scores_file import GivenScores
from limr.selection.sources import Trajectories
from limr.spec import Reading, Strategy, SubsetSize
from limr.store.local import LocalStore

RISING = [0.125, 0.25, 0.5, 0.625, 0.75, 0.875, 0.875, 1.0]


def training(curves: dict[str, list[float]]) -> Trajectories:
    return Trajectories(matrix_of(samples_of_curves(curves)), {prompt_id(text): text for text in curves})


def dataset_of(*texts: str) -> tuple[Dataset, bytes]:
    rows = [{"id": number, "prompt": text, "answer": str(number)} for number, text in enumerate(texts)]
    data = json.dumps(rows).encode()
    return datasets.parse(data, "data.json", "prompt", "answer"), data


def kept(selection: Selection) -> set[str]:
    pairs = zip(selection.prompt_ids, selection.selected.tolist(), strict=True)
    return {selection.texts[name] for name, keep in pairs if keep}


STRONG = training(
    {f"learned {number}": RISING for number in range(8)} | {"always": [1.0] * 8, "late": [0.0] * 6 + [0.5, 1.0]}
)
WEAK = training(
    {f"never {number}": [0.0] * 8 for number in range(6)}
    | {f"learned {number}": [value / 2 for value in RISING] for number in range(2)}
    | {"soon": [1.0] * 8}
)


def test_a_strong_run_gives_no_warning() -> None:
    selection = select(STRONG, Strategy())
    assert kept(selection) == {f"learned {number}" for number in range(8)}
    assert selection.summary["warnings"] == []
    summary = selection.summary
    assert (summary["prompts"], summary["scored"], summary["dropped"], summary["selected"]) == (10, 10, 0, 8)
    assert (summary["never_solved_selected"], summary["always_solved_selected"]) == (0, 0)
    assert (summary["strategy"], summary["threshold"], summary["epochs"]) == ("lim", 0.6, 8)
    assert summary["average_accuracy"] == pytest.approx(np.mean([[*RISING]] * 8 + [[1] * 8, [0] * 6 + [0.5, 1]], 0))
    assert [entry["epochs"] for entry in summary["stability"]] == [7, 6, 5, 4, 3]


def test_a_weak_run_warns_of_the_trap() -> None:
    selection = select(WEAK, Strategy())
    assert {f"never {number}" for number in range(6)} <= kept(selection)
    assert selection.summary["never_solved_selected"] == 6
    never, weak, *_ = selection.summary["warnings"]
    assert never.startswith("6 of the 8 selected prompts (75.0%) were never solved")
    assert weak.startswith(
        "the average accuracy is 0.18, below one half: there the formula gives a prompt that is never"
    )
    assert f"{selection.summary['never_solved_score']:.2f} (threshold 0.6)" in weak


def test_the_corrected_reading_selects_without_the_trap() -> None:
    selection = select(WEAK, Strategy(reading=Reading.CORRECTED))
    assert kept(selection) == {"learned 0", "learned 1"}
    assert selection.summary["never_solved_selected"] == 0
    assert not any("never solved" in warning for warning in selection.summary["warnings"])


def test_a_size_takes_the_best_and_a_given_threshold_counts_beside_it() -> None:
    best = select(STRONG, Strategy(), size=SubsetSize(count=9))
    assert best.summary["selected"] == 9
    assert best.summary["threshold"] is None
    share = select(STRONG, Strategy(), size=SubsetSize(fraction=0.3))
    assert share.summary["selected"] == 3
    with pytest.raises(LimrError, match="lim can select only 8 prompts, not 9"):
        select(STRONG, Strategy(threshold=0.6), size=SubsetSize(count=9))


def test_a_dataset_limits_what_is_kept_and_what_is_counted() -> None:
    dataset, data = dataset_of("learned 3", "new", "always", "learned 1", "learned 1")
    selection = select(STRONG, Strategy(), dataset=dataset)
    assert kept(selection) == {"learned 1", "learned 3"}
    assert selection.summary["prompts"] == 11
    assert selection.summary["scored"] == 3
    assert selection.summary["dropped_because"] == {"not_in_dataset": 7, "no_score": 0, "not_in_source": 1}
    assert selection.summary["warnings"][-1].startswith("data.json: row 5 repeats the prompt of row 4")
    rows = json.loads(output.files(selection, data)["subset.json"])
    assert rows == [
        {"id": 0, "prompt": "learned 3", "answer": "0"},
        {"id": 3, "prompt": "learned 1", "answer": "3"},
    ]
    other, _ = dataset_of("something else")
    with pytest.raises(
        LimrError, match=r"^lim scores no prompt: 10 are not in the dataset; give the one that was trained on$"
    ):
        select(STRONG, Strategy(), dataset=other)


def test_prompts_with_gaps_are_dropped_and_counted() -> None:
    samples = [*samples_of_curves({"a": RISING, "b": RISING}), Sample("seen once", 1, 1.0)]
    source = Trajectories(matrix_of(samples), {})
    assert select(source, Strategy()).summary["dropped_because"]["no_score"] == 1
    assert select(source, Strategy(reading=Reading.CORRECTED)).summary["scored"] == 2
    only = Trajectories(matrix_of([Sample("a", 1, 1.0), Sample("b", 2, 1.0)]).first(2), {})
    with pytest.raises(LimrError, match=r"^lim scores no prompt: 3 were seen in too few epochs; take fewer"):
        select(Trajectories(matrix_of([Sample("a", 1, 1.0), Sample("b", 1, 1.0), Sample("c", 9, 1.0)]), {}), Strategy())
    assert (
        select(only, Strategy(threshold=0)).summary["scored"] == 1
    )  # "b" at 1 is filled from 2, "a" misses the last epoch


def test_rounding_comes_before_the_threshold() -> None:
    given = GivenScores(["a", "b", "c"], np.array([0.5951, 0.604, 0.4]), {})
    assert select(given, Strategy(threshold=0.6)).summary["selected"] == 1
    rounded = select(given, Strategy(threshold=0.6, round_digits=2))
    assert rounded.summary["selected"] == 2
    assert rounded.scores.tolist() == [0.6, 0.6, 0.4]
    assert select(given, Strategy(threshold=0.4, reading=Reading.PAPER)).summary["selected"] == 2
    assert rounded.summary["warnings"] == [ONLY_SCORES]


def test_controls_need_no_measurement_and_are_not_warned_about() -> None:
    dataset, _ = dataset_of(*(f"p{number}" for number in range(10)), "never 1")
    drawn = select(None, Strategy(strategy="random"), size=SubsetSize(fraction=0.5), seed=2, dataset=dataset)
    assert drawn.summary["selected"] == 6
    assert drawn.summary["seed"] == 2
    assert drawn.accuracy is None
    again = select(WEAK, Strategy(strategy="random"), size=SubsetSize(count=6), seed=2, dataset=dataset)
    assert kept(again) == kept(drawn)  # whatever was measured
    assert again.summary["warnings"] == []
    assert again.accuracy is not None
    assert (~np.isnan(again.accuracy).all(axis=1)).sum() == 1
    full = select(WEAK, Strategy(strategy="full"))
    assert full.summary["selected"] == 9
    assert full.summary["never_solved_selected"] == 6
    assert full.summary["warnings"] == []


@pytest.mark.parametrize(
    ("strategy", "source", "sentence"),
    [
        ("lim", None, "lim needs trajectories or scores"),
        ("random", None, "random needs prompts to choose from; give a dataset"),
        ("random", STRONG, "random has no threshold of its own; give a threshold or the number of prompts"),
        ("variance", STRONG, "variance has no threshold of its own"),
        ("passrate", GivenScores(["a"], np.array([1.0]), {}), "passrate has no threshold of its own"),
    ],
)
def test_what_is_missing_is_named(strategy: str, source: Trajectories | GivenScores | None, sentence: str) -> None:
    with pytest.raises(LimrError, match=sentence):
        select(source, Strategy(strategy=strategy))


def test_an_unstable_subset_is_named() -> None:
    curves = {"a": [0.5] * 4, "b": [0.5] * 3 + [1.0], "c": [0.0] * 3 + [0.5]}
    selection = select(training(curves), Strategy(strategy="passrate", parameters={"last": 1}))
    assert kept(selection) == {"a", "c"}
    assert selection.summary["stability"][0] == {"epochs": 3, "jaccard": 1 / 3}
    assert selection.summary["warnings"] == [
        "the subset is still changing: with 3 epochs instead of 4 only 33% of the prompts in either subset are in "
        "both; train the probe longer"
    ]


def verdict(**changes: object) -> trust.Trust:
    sound = {
        "selected": 10,
        "scored": 100,
        "never_solved": 0,
        "always_solved": 0,
        "average": [0.5, 0.7],
        "coverage": [0.96, 0.96],
        "never_solved_score": -1.0,
        "stability": [(1, 0.95)],
    }
    return trust.Trust(**{**sound, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({"never_solved": 2}, "2 of the 10 selected prompts (20.0%) were never solved"),
        ({"always_solved": 1}, "1 of the 10 selected prompts (10.0%) were always solved"),
        ({"average": [0.3, 0.4], "never_solved_score": 0.71}, "the average accuracy is 0.35, below one half"),
        ({"stability": [(1, 0.89)]}, "the subset is still changing: with 1 epochs instead of 2 only 89% of"),
        ({"stability": []}, "one epoch is too few"),
        ({"selected": 100}, "all 100 scored prompts are selected"),
        ({"coverage": [0.96, 0.25]}, "the last epoch has samples of only 25% of the prompts, the others of 96%"),
        ({"average": [0.0, 0.0], "never_solved_score": None}, "no sample has the reward of a correct answer"),
    ],
)
def test_each_warning_alone(changes: dict[str, object], beginning: str) -> None:
    assert trust.warnings(verdict(), 0.6) == []
    (warning,) = trust.warnings(verdict(**changes), 0.6)
    assert warning.startswith(beginning)


def test_files_hold_what_is_documented(tmp_path: Path) -> None:
    samples = samples_of_curves({"a": RISING, "b": RISING})
    samples = [sample for sample in samples if sample[:2] != ("a", 2)]
    dataset, data = dataset_of("b", "a")
    selection = select(Trajectories(matrix_of(samples), {}), Strategy(), dataset=dataset)
    store = LocalStore(tmp_path)
    (tmp_path / "mine.txt").write_text("stays")
    output.write(output.files(selection, data), store)
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert scores.column_names == ["prompt_id", "prompt", "score", "accuracy"]
    assert scores["prompt_id"].to_pylist() == sorted([prompt_id("a"), prompt_id("b")])
    row = scores["prompt"].to_pylist().index("a")
    assert scores["accuracy"].to_pylist()[row] == [RISING[0], None, *RISING[2:]]
    subset = pq.read_table(tmp_path / "subset.parquet")
    assert subset.column_names == ["prompt_id", "prompt", "answer", "score"]
    assert subset["prompt"].to_pylist() == ["b", "a"]  # as in the dataset
    assert subset["answer"].to_pylist() == ["0", "1"]
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(selection.summary))
    assert output.files(selection, data) == output.files(selection, data)

    output.write(output.files(select(STRONG, Strategy())), store)
    assert not (tmp_path / "subset.json").exists()  # it was of another selection
    assert (tmp_path / "mine.txt").read_text() == "stays"
    assert pq.read_table(tmp_path / "subset.parquet").column_names == ["prompt_id", "prompt", "score"]
