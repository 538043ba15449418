"""Every form of trajectories gives the same matrix, and every mistake in one is a sentence with file, row and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from selection_samples import Sample, matrix_of, trainings, write_jsonl

from limr.dataset import prompt_id
from limr.errors import LimrError
from limr.selection.accuracy import AccuracyMatrix
from limr.selection.scores_file import read_scores
from limr.selection.sources import read_trajectories
from limr.stage import Ledger
from limr.store.journal import Journal
from limr.store.local import LocalStore
from limr.store.trajectories import TRAJECTORIES

STEPS_PER_EPOCH = 3


def a_training() -> list[tuple[int, Sample]]:
    """(step, sample): three steps an epoch, some prompts in each, others in none."""
    rng = np.random.default_rng(5)
    rows = []
    for step in range(1, 4 * STEPS_PER_EPOCH + 1):
        for prompt in rng.choice(10, 3, replace=False):
            for _ in range(4):
                reward = float(rng.choice([1.0, -0.5, -1.0]))
                rows.append((step, Sample(f"Question {prompt}: 1 + 1 =", (step - 1) // STEPS_PER_EPOCH + 1, reward)))
    return rows


ROWS = a_training()
EXPECTED = matrix_of([sample for _, sample in ROWS])


def same(matrix: AccuracyMatrix, expected: AccuracyMatrix = EXPECTED) -> None:
    assert matrix.prompt_ids == expected.prompt_ids
    np.testing.assert_array_equal(matrix.correct, expected.correct)
    np.testing.assert_array_equal(matrix.total, expected.total)
    np.testing.assert_allclose(matrix.reward_sum, expected.reward_sum)


def table(**columns: object) -> pa.Table:
    plain = {
        "prompt": [sample.prompt for _, sample in ROWS],
        "step": pa.array([step for step, _ in ROWS], pa.int32()),
        "reward": pa.array([sample.reward for _, sample in ROWS], pa.float32()),
    }
    chosen = {name: column for name, column in {**plain, **columns}.items() if column is not None}
    return pa.table(chosen)


IDS = [prompt_id(sample.prompt) for _, sample in ROWS]
EPOCHS = pa.array([sample.epoch for _, sample in ROWS], pa.int64())


def jsonl(path: Path) -> Path:
    return write_jsonl(
        path / "rows.jsonl",
        [
            {"prompt": f"  {sample.prompt}\n", "response": "x" * 99, "epoch": sample.epoch, "reward": sample.reward}
            for _, sample in ROWS
        ],
    )


def jsonl_steps_from_zero(path: Path) -> Path:
    rows = [{"prompt_id": prompt_id(s.prompt), "step": step - 1, "reward": s.reward} for step, s in ROWS]
    write_jsonl(path / "b.jsonl", rows[50:])
    write_jsonl(path / "a.jsonl", rows[:50])
    return path


def json_array(path: Path) -> Path:
    rows = [{"prompt": s.prompt, "epoch": s.epoch - 1, "reward": s.reward} for _, s in ROWS]
    (path / "rows.json").write_text("\ufeff \n" + json.dumps(rows), encoding="utf-8")
    return path / "rows.json"


def step_files(path: Path, first: int = 1) -> Path:
    for step in range(1, 4 * STEPS_PER_EPOCH + 1):
        rows = [
            {"prompt": s.prompt, "response": 'a "quoted" \\frac{1}{2}', "reward": s.reward, "response_length": 9.0}
            for own, s in ROWS
            if own == step
        ]
        (path / f"step_{step - 1 + first}.json").write_text(json.dumps(rows, indent=4))
    return path


def step_files_below_train(path: Path) -> Path:
    for name in ("train", "test"):
        (path / name).mkdir()
        step_files(path / name)
    return path


def parquet_file(path: Path) -> Path:
    pq.write_table(table(), path / "all.parquet", row_group_size=17)
    return path / "all.parquet"


def parquet_folder(path: Path) -> Path:
    half = len(ROWS) // 2
    whole = table(prompt=None, step=None, prompt_id=pa.array(IDS, pa.large_string()), epoch=EPOCHS)
    whole = whole.set_column(0, "reward", whole["reward"].cast(pa.float64()))
    (path / "deep").mkdir()
    pq.write_table(whole.slice(0, half), path / "a.parquet")
    pq.write_table(whole.slice(half).select(["epoch", "prompt_id", "reward"]), path / "deep" / "b.parquet")
    pq.write_table(whole.slice(0, 0), path / "c.parquet")
    return path


def stage_folder(path: Path) -> Path:
    """As the probe leaves it: only what the manifest names counts."""
    store = LocalStore(path)
    for attempt, steps in ((1, 5), (2, 4 * STEPS_PER_EPOCH)):
        with Journal.open(store, "probe", attempt) as journal:
            for step in range(journal.manifest.last_step + 1, steps + 1):
                journal.add_step(step, (step - 1) // STEPS_PER_EPOCH + 1, step_table(step, attempt), {})
            journal.commit(steps, Ledger())
    return path / "probe"


def step_table(step: int, attempt: int) -> pa.Table:
    rows = [
        {
            "prompt_id": prompt_id(sample.prompt),
            "epoch": sample.epoch,
            "step": step,
            "sample": number,
            "reward": sample.reward,
            "verdict": "correct" if sample.reward == 1 else "wrong",
            "response_tokens": 5,
            "truncated": False,
            "policy_version": step,
            "attempt": attempt,
            "mean_logprob": -1.0,
            "ratio_mean": 1.0,
            "ratio_max": 1.0,
        }
        for number, (own, sample) in enumerate(ROWS)
        if own == step
    ]
    return pa.Table.from_pylist(rows).cast(TRAJECTORIES)


@pytest.mark.parametrize(
    "make",
    [
        jsonl,
        jsonl_steps_from_zero,
        json_array,
        step_files,
        lambda path: step_files(path, first=0),
        step_files_below_train,
        parquet_file,
        parquet_folder,
        stage_folder,
        lambda path: stage_folder(path) / "manifest.json",
    ],
)
def test_every_form_gives_the_same_matrix(make: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_trajectories(str(make(tmp_path)), steps_per_epoch=STEPS_PER_EPOCH)
    same(found.matrix)
    assert found.warnings == ()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trainings(), st.sampled_from(["jsonl", "parquet"]))
def test_any_training_survives_its_file(tmp_path: Path, samples: list[Sample], form: str) -> None:
    if form == "jsonl":
        path = write_jsonl(tmp_path / "rows.jsonl", [sample._asdict() for sample in samples])
    else:
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([sample._asdict() for sample in samples]), path, row_group_size=5)
    same(read_trajectories(str(path)).matrix, matrix_of(samples))


def test_epochs_takes_the_first_ones(tmp_path: Path) -> None:
    expected = matrix_of([sample for _, sample in ROWS if sample.epoch <= 2])
    for path in (jsonl(tmp_path), step_files(tmp_path)):
        found = read_trajectories(str(path), steps_per_epoch=STEPS_PER_EPOCH, epochs=2).matrix
        seen = found.total.sum(axis=1) > 0
        assert [name for name, keep in zip(found.prompt_ids, seen, strict=True) if keep] == expected.prompt_ids
        np.testing.assert_array_equal(found.total[seen], expected.total)
    with pytest.raises(LimrError, match="holds 4 epochs, not 5; ask for at most 4"):
        read_trajectories(str(jsonl(tmp_path)), epochs=5)


def test_step_files_that_are_missing_or_begin_an_epoch_are_named(tmp_path: Path) -> None:
    step_files(tmp_path)
    (tmp_path / "step_12.json").unlink()
    (tmp_path / "step_2.json").unlink()
    found = read_trajectories(str(tmp_path), steps_per_epoch=STEPS_PER_EPOCH)
    assert found.matrix.epochs == 3
    assert list(found.warnings) == [
        "step_2.json missing: their prompts count as not seen in that epoch",
        "epoch 4 is not complete (its last step is 11) and was left out",
    ]


def test_texts_are_kept_once_and_only_on_request(tmp_path: Path) -> None:
    path = str(step_files(tmp_path))
    assert read_trajectories(path).texts == {}
    texts = read_trajectories(path, keep_texts=True).texts
    assert {prompt_id(text): text for text in texts.values()} == texts
    assert set(texts) == set(EXPECTED.prompt_ids)


GOOD = {"prompt": "p", "epoch": 1, "reward": 1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "has no rows"),
        ("[]", "has no rows"),
        ([GOOD, {"prompt": "p", "epoch": 1}], r"row 2: field 'reward' is missing \(it has: prompt, epoch\); add it"),
        ([GOOD, {**GOOD, "reward": "1"}], "row 2: field 'reward' is text; write a finite number"),
        ([GOOD, {**GOOD, "reward": True}], "row 2: field 'reward' is true"),
        ([GOOD, {**GOOD, "reward": float("nan")}], "row 2: field 'reward' is NaN"),
        ([GOOD, {"epoch": 1, "reward": 1}], "row 2: field 'prompt' or 'prompt_id' is missing"),
        ([GOOD, {**GOOD, "prompt": 3}], "row 2: field 'prompt' is 3; write its text"),
        ([GOOD, {**GOOD, "prompt": " "}], "row 2: field 'prompt' is empty"),
        ([GOOD, {**GOOD, "prompt": "a\0b"}], "row 2: field 'prompt' holds a NUL byte; remove it"),
        ([GOOD, {**GOOD, "prompt": "\ud800"}], "row 2: field 'prompt' holds half of a surrogate pair"),
        ([GOOD, {**GOOD, "epoch": 1.5}], "row 2: field 'epoch' is 1.5; write a whole number from 1"),
        ([GOOD, {**GOOD, "epoch": -1}], "row 2: field 'epoch' is -1"),
        ([GOOD, GOOD, {**GOOD, "epoch": 0}], "row 3: epoch 0 comes before epoch 1, with which the source begins"),
        ([{"prompt": "p", "reward": 1}], "row 1: field 'epoch' or 'step' is missing"),
        ([GOOD, {"prompt": "p", "step": 1, "reward": 1}], "row 2: field 'epoch' is missing"),
        ([GOOD, [1]], "row 2: is a list, not an object"),
        (json.dumps(GOOD) + "\n\n{]", "row 3: not valid JSON"),
        (json.dumps(GOOD) + "\n\0\0", "row 2: not valid JSON"),
        ("[" + json.dumps(GOOD) + ", {]", "not valid JSON after row 1"),
        ("[" + json.dumps(GOOD) + ",", "not valid JSON after row 1"),
        ("[\0", "not valid JSON after row 0"),
    ],
)
def test_bad_json_is_explained(content: str | list[object], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content if isinstance(content, str) else "\n".join(map(json.dumps, content)))
    with pytest.raises(LimrError, match=sentence) as caught:
        read_trajectories(str(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"reward": None}, r"column 'reward' is missing \(it has: prompt, step\); add it"),
        ({"prompt": None}, "column 'prompt' or 'prompt_id' is missing"),
        ({"step": None}, "column 'epoch' or 'step' is missing"),
        ({"prompt": pa.array(range(len(ROWS)))}, "column 'prompt' is int64; write text"),
        ({"step": pa.array([1.0] * len(ROWS))}, "column 'step' is double; write whole numbers"),
        ({"reward": pa.array(["1"] * len(ROWS))}, "column 'reward' is string; write numbers"),
        ({"reward": pa.array([1.0, None] + [1.0] * (len(ROWS) - 2))}, "row 2: column 'reward' is null"),
        ({"reward": pa.array([1.0] * (len(ROWS) - 1) + [np.inf])}, f"row {len(ROWS)}: column 'reward' is inf"),
        ({"prompt": pa.array(["a", "b\0"] * (len(ROWS) // 2))}, "rows from 1: column 'prompt' holds a NUL byte"),
        ({"step": pa.array([1, 1, 0] + [2] * (len(ROWS) - 3))}, "row 3: step 0 comes before step 1"),
    ],
)
def test_bad_parquet_is_explained(columns: dict[str, object], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(table(**columns), path, row_group_size=40)
    with pytest.raises(LimrError, match=sentence) as caught:
        read_trajectories(str(path))
    assert str(caught.value).startswith(str(path))


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    whole = parquet_file(tmp_path)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(LimrError, match=r"damaged.parquet: is no readable Parquet file"):
        read_trajectories(str(damaged))
    damaged.write_bytes(b"")
    with pytest.raises(LimrError, match=r"damaged.parquet: is no readable Parquet file"):
        read_trajectories(str(damaged))
    holed = bytearray(whole.read_bytes())
    holed[4:400] = bytes(396)
    damaged.write_bytes(holed)
    with pytest.raises(LimrError, match=r"damaged.parquet: is damaged"):
        read_trajectories(str(damaged))
    with pytest.raises(LimrError, match=r"nowhere: there is no training to read; give a Parquet, JSON or JSONL file"):
        read_trajectories(str(tmp_path / "nowhere"))
    pq.write_table(table().slice(0, 0), damaged)
    with pytest.raises(LimrError, match=r"damaged.parquet: has no rows"):
        read_trajectories(str(damaged))


def test_a_stage_folder_must_be_whole(tmp_path: Path) -> None:
    probe = stage_folder(tmp_path)
    manifest = json.loads((probe / "manifest.json").read_text())
    (probe / manifest["steps"][3]["path"]).unlink()
    with pytest.raises(LimrError, match=r"step=000004.parquet: there is no such file; restore it"):
        read_trajectories(str(probe))
    (probe / "manifest.json").write_text(json.dumps({**manifest, "steps": [], "checkpoints": []}))
    with pytest.raises(LimrError, match="names no finished step yet"):
        read_trajectories(str(probe))
    (probe / "attempt-1").mkdir(exist_ok=True)
    (probe / "attempt-1" / "left.parquet").touch()
    (probe / "manifest.json").unlink()
    with pytest.raises(LimrError, match=r"holds attempt-1, attempt-2 and no manifest.json; give the folder of one"):
        read_trajectories(str(probe))


def test_scores_come_as_json_lines_or_parquet(tmp_path: Path) -> None:
    rows = [{"prompt": "Second", "score": -1}, {"prompt": "First ", "score": 0.25}, {"prompt_id": "x", "score": 0.5}]
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    write_jsonl(tmp_path / "scores.jsonl", rows)
    pq.write_table(
        pa.table(
            {
                "prompt_id": [prompt_id("Second"), prompt_id("First"), "x"],
                "prompt": ["Second", "First ", None],
                "score": [-1.0, 0.25, 0.5],
                "accuracy": [[1.0]] * 3,
            }
        ),
        tmp_path / "scores.parquet",
    )
    for name in ("scores.json", "scores.jsonl", "scores.parquet"):
        scores = read_scores(str(tmp_path / name))
        assert dict(zip(scores.prompt_ids, scores.values.tolist(), strict=True)) == {
            prompt_id("Second"): -1,
            prompt_id("First"): 0.25,
            "x": 0.5,
        }
        assert scores.prompt_ids == sorted(scores.prompt_ids)
        assert scores.texts[prompt_id("First")] == "First "


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "the file has no rows"),
        ([{"prompt": "p"}], r"row 1: field 'score' is missing \(it has: prompt\)"),
        ([{"prompt": "p", "score": None}], "row 1: field 'score' is null; write a finite number"),
        ([{"prompt": "p", "score": 1}, {"prompt": "p ", "score": 2}], "row 2: gives the prompt of row 1 another score"),
    ],
)
def test_bad_scores_are_explained(rows: list[dict[str, object]], sentence: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "scores.jsonl", rows)
    with pytest.raises(LimrError, match=sentence):
        read_scores(str(path))


def test_scores_that_stand_twice_count_once_and_say_so(tmp_path: Path) -> None:
    scores = read_scores(str(write_jsonl(tmp_path / "s.jsonl", [{"prompt": "p", "score": 1}] * 3)))
    assert len(scores.prompt_ids) == 1
    assert scores.warnings[0].endswith("rows that repeat a prompt with the same score: 2; each prompt counts once")
    with pytest.raises(LimrError, match=r"gone.json: there is no such file"):
        read_scores(str(tmp_path / "gone.json"))
