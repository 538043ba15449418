"""The Selection stage on a real probe in a real store."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limr.dataset import prompt_id
from limr.errors import LimrError
from limr.selection.stage import run_stage
from limr.spec import Experiment
from limr.stage import Ledger, Output, StageInput, StageKind, StageRef
from limr.store import digest, open_store
from limr.store.base import Store
from limr.store.journal import Journal
from limr.store.trajectories import TRAJECTORIES

QUESTIONS = [f"{number} + {number} =" for number in range(20)]
EPOCHS = 6


def experiment(folder: Path, **spec: Any) -> Experiment:
    dataset = folder / "dataset.json"
    dataset.write_text(json.dumps([{"prompt": question, "answer": "1"} for question in QUESTIONS]))
    whole = {"model": {"uri": "m"}, "dataset": {"uri": str(dataset)}, "training": {"steps": 3}, **spec}
    return Experiment.model_validate({"metadata": {"name": "x"}, "spec": whole})


def probe(store: Store) -> Output:
    """Prompts 0–11 follow one rising curve, 12–15 are always and 16–19 never solved. Solved is worth 2."""
    rng = np.random.default_rng(1)
    with Journal.open(store, "probe", 1) as journal:
        for epoch in range(1, EPOCHS + 1):
            journal.add_step(epoch, epoch, step_table(epoch, rng), {})
        journal.finish({}, Ledger())
        return journal.output


def step_table(epoch: int, rng: np.random.Generator) -> pa.Table:
    rows = []
    for number, question in enumerate(QUESTIONS):
        chance = (0.3 + 0.6 * epoch / EPOCHS) if number < 12 else float(number < 16)
        solved = rng.permutation(16) < round(16 * chance)
        rows += [
            {
                "prompt_id": prompt_id(question),
                "epoch": epoch,
                "step": epoch,
                "sample": sample,
                "reward": 2.0 if correct else -0.5,
                "verdict": "correct" if correct else "wrong",
                "response_tokens": 1,
                "truncated": False,
                "policy_version": epoch,
                "attempt": 1,
                "mean_logprob": -1.0,
                "ratio_mean": 1.0,
                "ratio_max": 1.0,
            }
            for sample, correct in enumerate(solved.tolist())
        ]
    return pa.Table.from_pylist(rows).cast(TRAJECTORIES)


def select(exp: Experiment, root: Path, arm: str, inputs: dict[str, dict[str, Output]]) -> dict[str, Output]:
    stage = StageRef(name=f"select-{arm}", kind=StageKind.SELECTION, arm=arm)
    return run_stage(
        StageInput(experiment=exp, stage=stage, attempt=1, root=str(root), inputs=inputs), open_store(str(root))
    )


def ids(output: Output) -> set[str]:
    return set(pq.read_table(output.uri)["prompt_id"].to_pylist())


def test_arms_get_their_subsets(tmp_path: Path) -> None:
    exp = experiment(
        tmp_path,
        reward={"correct": 2.0},
        arms=[
            {"name": "lim"},
            {"name": "random", "selection": {"strategy": "random"}, "size": {"sameAs": "lim"}, "seeds": [1, 2]},
            {"name": "full", "selection": {"strategy": "full"}, "seeds": [1, 2]},
            {"name": "half", "selection": {"strategy": "variance"}, "size": {"fraction": 0.5}},
        ],
    )
    root = tmp_path / "root"
    store = open_store(str(root))
    inputs = {"probe": {"manifest": probe(store)}}

    lim = select(exp, root, "lim", inputs)
    assert set(lim) == {"subset", "scores", "summary"}
    learned = {prompt_id(question) for question in QUESTIONS[:12]}
    assert ids(lim["subset"]) == learned
    for made in lim.values():
        assert made.digest == digest.of_bytes(Path(made.uri).read_bytes())
    assert Path(lim["subset"].uri) == root / "select-lim" / "subset.parquet"
    summary = json.loads(Path(lim["summary"].uri).read_text())
    assert (summary["prompts"], summary["selected"], summary["never_solved_selected"]) == (20, 12, 0)
    manifest = json.loads((root / "select-lim" / "manifest.json").read_text())
    assert manifest["outputs"]["subset"] == json.loads(lim["subset"].to_json())
    assert select(exp, root, "lim", inputs) == lim  # a second try makes the same bytes

    random = select(exp, root, "random", {**inputs, "select-lim": lim})
    assert set(random) == {"subset-s1", "subset-s2", "summary"}
    assert len(ids(random["subset-s1"])) == len(ids(random["subset-s2"])) == 12
    assert ids(random["subset-s1"]) != ids(random["subset-s2"])
    assert json.loads(Path(random["summary"].uri).read_text())["seeds"] == [1, 2]

    full = select(exp, root, "full", inputs)
    assert set(full) == {"subset", "summary"}
    assert len(ids(full["subset"])) == 20

    half = select(exp, root, "half", inputs)
    assert len(ids(half["subset"])) == 10
    again = exp.model_copy(
        update={
            "spec": experiment(tmp_path, arms=[{"name": "random"}, {"name": "as", "size": {"sameAs": "random"}}]).spec
        }
    )
    assert len(ids(select(again, root, "as", {**inputs, "select-random": random})["subset"])) == 12


def test_given_scores_take_the_probes_place(tmp_path: Path) -> None:
    scores = tmp_path / "scores.jsonl"
    rows = [{"prompt": question, "score": number / 20} for number, question in enumerate(QUESTIONS)]
    scores.write_text("".join(json.dumps(row) + "\n" for row in rows))
    exp = experiment(
        tmp_path,
        selection={"scoresFrom": str(scores), "threshold": 0.5},
        arms=[
            {"name": "lim"},
            {"name": "random", "selection": {"strategy": "random"}, "size": {"sameAs": "lim"}},
            {"name": "other", "selection": {"strategy": "linear"}},
        ],
    )
    root = tmp_path / "root"
    lim = select(exp, root, "lim", {})
    assert ids(lim["subset"]) == {prompt_id(question) for question in QUESTIONS[10:]}
    assert "accuracy" not in pq.read_schema(lim["scores"].uri).names
    assert len(ids(select(exp, root, "random", {"select-lim": lim})["subset-s1"])) == 10
    with pytest.raises(
        LimrError, match=r"arm other: linear needs the trajectories of a probe, but selection.scoresFrom"
    ):
        select(exp, root, "other", {})


def test_a_probe_that_changed_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    manifest = probe(open_store(str(root)))
    other = manifest.model_copy(update={"digest": digest.of_bytes(b"")})
    with pytest.raises(LimrError, match=r"manifest.json: its digest is sha256:.*, not sha256:.* as after the probe"):
        select(experiment(tmp_path, arms=[{"name": "lim"}]), root, "lim", {"probe": {"manifest": other}})


def test_a_control_without_a_size_says_what_to_write(tmp_path: Path) -> None:
    root = tmp_path / "root"
    inputs = {"probe": {"manifest": probe(open_store(str(root)))}}
    exp = experiment(tmp_path, arms=[{"name": "r", "selection": {"strategy": "random"}}])
    with pytest.raises(LimrError, match="random has no threshold of its own; give a threshold or the number of"):
        select(exp, root, "r", inputs)
    assert not (root / "select-r").exists()


def test_subsets_read_like_any_parquet(tmp_path: Path) -> None:
    root = tmp_path / "root"
    inputs = {"probe": {"manifest": probe(open_store(str(root)))}}
    exp = experiment(tmp_path, reward={"correct": 2.0}, arms=[{"name": "lim"}])
    subset = pq.read_table(io.BytesIO(Path(select(exp, root, "lim", inputs)["subset"].uri).read_bytes()))
    assert subset["prompt"].to_pylist() == QUESTIONS[:12]
    assert subset["answer"].to_pylist() == ["1"] * 12
