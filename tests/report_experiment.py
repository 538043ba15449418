"""An experiment as its stages would have left it in the store, made of random numbers instead of models."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limr.dataset import prompt_id
from limr.selection.stage import run_stage as select_prompts
from limr.spec import Experiment
from limr.stage import Ledger, Output, StageInput, StageKind, StageRef
from limr.store import digest
from limr.store.local import LocalStore
from limr.store.manifest import Manifest, StepRecord, read_manifest

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'too' \0 \x1b[31m {{ 7 * 7 }} </pre></style>" + "long " * 200
PROMPTS_PER_STEP, SAMPLES = 64, 8
SPEC: dict[str, Any] = {
    "model": {"uri": "examples/arithmetic/model", "dtype": "float32"},
    "dataset": {"uri": "replaced"},
    "ppo": {"promptsPerStep": PROMPTS_PER_STEP, "samplesPerPrompt": SAMPLES, "maxResponseTokens": 16},
    "probe": {"epochs": 12},
    "arms": [
        {"name": "lim"},
        {"name": "random", "selection": {"strategy": "random"}, "size": {"sameAs": "lim"}, "seeds": [1, 2, 3]},
        {"name": "full", "selection": {"strategy": "full"}},
    ],
    "evaluation": {
        "benchmarks": [
            {"name": "sums", "uri": "examples/arithmetic/sums.jsonl", "samples": 4, "temperature": 0.6},
            {"name": "carry", "uri": "examples/arithmetic/carry.jsonl"},
        ]
    },
}
QUESTIONS = {"sums": (200, 4, 0.6), "carry": (100, 1, 0.0)}
ABILITY = {"base": -0.3, "lim": 1.2, "random": 0.7, "full": 1.15}  # in logits


@dataclass
class FakeExperiment:
    """Writes stage outputs below `folder`; `stage_input()` is then what the report stage is given."""

    folder: Path
    spec: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(SPEC)))
    prompts: int = 512
    seed: int = 0
    warnings: tuple[str, ...] = ()
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        metadata = {"name": "demo", "namespace": "default"}
        self.spec["dataset"] = {"uri": str(self.folder / "prompts.jsonl")}
        self.experiment = Experiment.model_validate({"metadata": metadata, "spec": self.spec})
        self.store = LocalStore(self.folder)
        self.rng = np.random.default_rng(self.seed)
        self.inputs: dict[str, dict[str, Output]] = {}
        kind = self.rng.random(self.prompts)
        self.difficulty = np.where(
            kind < 0.12, np.inf, np.where(kind < 0.3, -np.inf, self.rng.normal(1.5, 1.5, self.prompts))
        )
        self.texts = self.texts or [f"{a}+{b}=" for a, b in self.rng.integers(10, 100_000, (self.prompts, 2))]

    def stage_input(self) -> StageInput:
        ref = StageRef(name="report", kind=StageKind.REPORT)
        return StageInput(experiment=self.experiment, stage=ref, attempt=1, root=self.store.uri, inputs=self.inputs)

    def run_selections(self) -> FakeExperiment:
        """Probe and selections only, the latter by the real stage."""
        spec = self.experiment.spec
        self.write_trajectories(self.probe())
        rows = [json.dumps({"prompt": text, "answer": "1"}) for text in self.texts]
        Path(spec.dataset.uri).write_text("\n".join(rows))
        for arm in spec.arms:
            ref = StageRef(name=f"select-{arm.name}", kind=StageKind.SELECTION, arm=arm.name)
            given = self.stage_input().model_copy(update={"stage": ref})
            self.inputs[ref.name] = select_prompts(given, self.store)
        return self

    def write_trajectories(self, accuracy: np.ndarray) -> None:
        """What selection reads of the probe's rollouts."""
        ids = np.array([prompt_id(text) for text in self.texts])
        for index, record in enumerate(read_manifest(self.store, "probe").steps):
            chunk = slice(index * PROMPTS_PER_STEP % self.prompts, None)
            asked = np.arange(self.prompts)[chunk][:PROMPTS_PER_STEP]
            solved = np.arange(SAMPLES) < accuracy[asked, record.epoch - 1][:, None] * SAMPLES
            columns = {
                "prompt_id": ids[asked].repeat(SAMPLES),
                "epoch": np.full(solved.size, record.epoch),
                "reward": np.where(solved, 1.0, -0.5).ravel(),
            }
            self.store.put(f"probe/{record.path}", parquet(pa.table(columns)))

    def put(self, stage: str, output: str, path: str, data: bytes) -> None:
        self.store.put(f"{stage}/{path}", data)
        found = Output(uri=f"{self.store.uri}/{stage}/{path}", digest=digest.of_bytes(data))
        self.inputs.setdefault(stage, {})[output] = found

    def run_all(self) -> FakeExperiment:
        spec = self.experiment.spec
        accuracy = self.probe() if spec.selection.scores_from is None else None
        for arm in spec.arms:
            if not arm.reuse_probe:
                self.select(arm.name, spec.strategy_of(arm).strategy, arm.seeds, accuracy)
                for seed in arm.seeds:
                    self.train(arm.name, seed)
        if spec.evaluation.benchmarks:
            self.evaluate()
        return self

    def probe(self) -> np.ndarray:
        """Writes the manifest; returns [prompts, epochs] accuracy."""
        epochs = self.experiment.spec.probe.epochs
        skill = 3.4 * (1 - np.exp(-np.arange(epochs) / 4))
        chance = 1 / (1 + np.exp(self.difficulty[:, None] - skill))
        accuracy = self.rng.binomial(SAMPLES, chance) / SAMPLES
        steps = epochs * (self.prompts // PROMPTS_PER_STEP)
        curve = np.interp(np.linspace(0, epochs - 1, steps), np.arange(epochs), accuracy.mean(axis=0))
        self.steps("probe", np.clip(curve + self.rng.normal(0, 0.01, steps), 0, 1))
        return accuracy

    def select(self, arm: str, strategy: str, seeds: list[int], accuracy: np.ndarray | None) -> None:
        if accuracy is None:
            scores = self.rng.uniform(-3, 1, self.prompts)
        else:
            average = accuracy.mean(axis=0)
            scores = 1 - ((accuracy - average) ** 2).sum(axis=1) / ((1 - average) ** 2).sum()
        if strategy == "lim":
            selected = scores >= 0.6
        else:
            size = int((scores >= 0.6).sum()) if strategy == "random" else self.prompts
            selected = np.isin(np.arange(self.prompts), self.rng.choice(self.prompts, size, replace=False))
        columns: dict[str, Any] = {"prompt_id": [prompt_id(text) for text in self.texts], "prompt": self.texts}
        table = pa.table(columns)
        scored = table.append_column("score", pa.array(scores))
        if accuracy is not None:
            scored = scored.append_column("accuracy", pa.array(accuracy.tolist()))
        if strategy == "lim":
            self.put(f"select-{arm}", "scores", "scores.parquet", parquet(scored))
        subsets = ["subset"] if strategy != "random" else [f"subset-s{seed}" for seed in seeds]
        for subset in subsets:
            self.put(f"select-{arm}", subset, f"{subset}.parquet", parquet(table.filter(pa.array(selected))))
        summary = {
            "prompts": self.prompts,
            "scored": self.prompts,
            "dropped": 0,
            "selected": int(selected.sum()),
            "threshold": 0.6 if strategy == "lim" else None,
            "reading": "code" if strategy == "lim" else None,
            "warnings": self.warnings if strategy == "lim" else [],
            **self.trust(accuracy, selected),
        }
        self.put(f"select-{arm}", "summary", "summary.json", json.dumps(summary).encode())

    def trust(self, accuracy: np.ndarray | None, selected: np.ndarray) -> dict[str, Any]:
        if accuracy is None:
            return {}
        return {
            "never_solved_selected": int((accuracy[selected] == 0).all(axis=1).sum()),
            "always_solved_selected": int((accuracy[selected] == 1).all(axis=1).sum()),
            "stability": [{"epochs": accuracy.shape[1] - 1, "jaccard": 0.97}],
        }

    def train(self, arm: str, seed: int) -> None:
        steps = 40
        rise = {"lim": 0.6, "random": 0.45}.get(arm, 0.5)
        curve = 0.35 + rise * (1 - np.exp(-np.arange(steps) / 12))
        self.steps(f"train-{arm}-s{seed}", np.clip(curve + self.rng.normal(0, 0.02, steps), 0, 1))

    def steps(self, stage: str, accuracy: np.ndarray) -> None:
        records = [
            StepRecord(
                step=index + 1,
                epoch=index * PROMPTS_PER_STEP // self.prompts + 1,
                attempt=1,
                path=f"attempt-1/trajectories/step={index + 1:06d}.parquet",
                rows=PROMPTS_PER_STEP * SAMPLES,
                digest="sha256:" + "0" * 64,
                metrics=self.metrics(index, float(share), len(accuracy)),
            )
            for index, share in enumerate(accuracy)
        ]
        rollouts = len(records) * PROMPTS_PER_STEP * SAMPLES
        ledger = Ledger(
            rollouts=rollouts,
            prompt_tokens=rollouts * 7,
            response_tokens=rollouts * 9,
            device_seconds=len(records) * 2.9,
        )
        done = Manifest(stage=stage, attempt=1, writer="w", steps=tuple(records), ledger=ledger, finished=True)
        self.put(stage, "manifest", "manifest.json", done.to_json().encode())

    def metrics(self, index: int, share: float, steps: int) -> dict[str, float]:
        seconds = {
            "generation": 0.62, "grading": 0.06, "logprobs": 0.14, "training": 0.48, "sync": 0.03, "writing": 0.01,
        }  # fmt: skip
        noisy = {f"seconds_{part}": mean * float(self.rng.uniform(0.8, 1.2)) for part, mean in seconds.items()}
        evaluated = {"eval_sums": 0.4 + 0.5 * index / steps} if (index + 1) % 10 == 0 else {}
        return {
            "reward_mean": 1.5 * share - 0.5 - 0.05 * (1 - share),
            "accuracy": share,
            "kl": 0.002 * index * (1 + 0.2 * float(self.rng.random())),
            "entropy": 0.6 * 0.985**index,
            "clip_fraction": 0.02 * float(self.rng.random()),
            "ratio_max": float("inf") if index == 3 else 1.2,
            "logprob_difference_max": 1e-5 * float(self.rng.random()),
            "response_tokens_mean": 9 + float(self.rng.random()),
            "truncated_share": 0.01 * float(self.rng.random()),
            "rollouts": float((index + 1) * PROMPTS_PER_STEP * SAMPLES),
            "tokens_per_second": 3600.0,
            **noisy,
            "seconds_step": sum(noisy.values()) * 1.01,
            **evaluated,
        }

    def evaluate(self) -> None:
        spec = self.experiment.spec
        difficulty = {name: self.rng.normal(0, 1.5, count) for name, (count, _, _) in QUESTIONS.items()}
        models = [("base", None, None)]
        models += [(f"{arm.name}-s{seed}", arm.name, seed) for arm in spec.arms for seed in arm.seeds]
        answered = [
            {
                "name": name,
                "arm": arm,
                "seed": seed,
                "benchmarks": {
                    b.name: self.answers(b.name, difficulty[b.name], arm or "base") for b in spec.evaluation.benchmarks
                },
            }
            for name, arm, seed in models
        ]
        ledger = Ledger(rollouts=900 * len(models), device_seconds=12.0 * len(models))
        document = {"models": answered, "ledger": json.loads(ledger.to_json())}
        self.put("evaluate", "results", "results.json", json.dumps(document).encode())

    def answers(self, benchmark: str, difficulty: np.ndarray, arm: str) -> dict[str, Any]:
        questions, samples, temperature = QUESTIONS[benchmark]
        ability = ABILITY.get(arm, 0.5) + self.rng.normal(0, 0.08)
        chance = 1 / (1 + np.exp(difficulty - ability))
        return {
            "questions": questions,
            "samples": samples,
            "temperature": temperature,
            "correct": self.rng.binomial(1, chance[:, None], (questions, samples)).tolist(),
            "truncated_share": 0.0,
            "question_ids": [f"{benchmark}-{index}" for index in range(questions)],
        }


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
