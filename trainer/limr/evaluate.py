"""Evaluation: base model and every trained one answer the same questions, graded as in training."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from limr import capacity, dataset, topology
from limr.actors import Work, connect, total_work
from limr.dataset import Prompt
from limr.devices import device_kind
from limr.liveness import Liveness, answer_seconds
from limr.model_files import FINGERPRINT_FILE, local_model
from limr.prompts import load_tokenizer, tokenize
from limr.records import grade_requests
from limr.reward.pool import Grader
from limr.reward.verdict import Verdict
from limr.rollout.group import EngineGroup
from limr.rollout.proof import Fingerprint
from limr.rollout.types import SamplingSettings, engine_settings, sample_seed
from limr.spec import Benchmark, Spec
from limr.stage import Ledger, Outcome, Output, Progress, Reporter, StageInput, StageResult
from limr.stopping import StopRequested
from limr.store import put_output, read_uri
from limr.store.base import NotFound, Store


@dataclass(frozen=True)
class Questions:
    """A benchmark, ready to be asked."""

    benchmark: Benchmark
    prompts: list[Prompt]
    tokens: list[list[int]]
    settings: SamplingSettings


@dataclass(frozen=True)
class Answers:
    correct: list[list[int]]  # 1 or 0 of each sample of each question
    truncated_share: float
    response_tokens: int
    prompt_tokens: int

    @property
    def accuracy(self) -> float:
        """The mean over questions of the share of correct samples: pass@1."""
        return sum(sum(samples) / len(samples) for samples in self.correct) / len(self.correct)

    @property
    def ledger(self) -> Ledger:
        rollouts = sum(len(samples) for samples in self.correct)
        return Ledger(rollouts=rollouts, prompt_tokens=self.prompt_tokens, response_tokens=self.response_tokens)


def load_questions(spec: Spec, tokenizer: PreTrainedTokenizerBase) -> list[Questions]:
    """Raises LimrError that names the file, rows and field of whatever cannot be used."""
    return [_load(benchmark, spec, tokenizer) for benchmark in spec.evaluation.benchmarks]


def ask(questions: Questions, engines: EngineGroup, grader: Grader, seed: int) -> Answers:
    """Samples and grades; the same seed gives every model the same draws."""
    seeds = [sample_seed(seed, 0, position) for position in range(len(questions.prompts))]
    rollouts = engines.generate(questions.tokens, seeds, questions.settings)
    samples = questions.settings.samples
    requests = grade_requests(rollouts, [prompt for prompt in questions.prompts for _ in range(samples)])
    correct = [int(grade.verdict is Verdict.CORRECT) for grade in grader.grade(requests)]
    return Answers(
        correct=[correct[start : start + samples] for start in range(0, len(correct), samples)],
        truncated_share=float(rollouts.truncated.mean()),
        response_tokens=len(rollouts.tokens),
        prompt_tokens=samples * sum(map(len, questions.tokens)),
    )


def _load(benchmark: Benchmark, spec: Spec, tokenizer: PreTrainedTokenizerBase) -> Questions:
    data = read_uri(benchmark.uri, spec.storage.endpoint)
    field = benchmark.question_field or dataset.question_field(data, benchmark.uri)
    prompts = dataset.parse(data, benchmark.uri, field, benchmark.answer_field).prompts[: benchmark.limit]
    tokens = tokenize(tokenizer, prompts, spec.model.prompt, spec.ppo.max_prompt_tokens, benchmark.uri)
    limit = benchmark.max_response_tokens or spec.ppo.max_response_tokens
    settings = SamplingSettings(benchmark.samples, benchmark.temperature, benchmark.top_p, limit)
    return Questions(benchmark, prompts, tokens, settings)


# The Evaluation stage


@dataclass(frozen=True)
class Candidate:
    """A model to be evaluated; without files, the base model."""

    name: str
    arm: str | None = None
    seed: int | None = None
    files: Output | None = None


def candidates(stage_input: StageInput) -> list[Candidate]:
    """The base model, then every arm and seed in the spec's order."""
    found = [Candidate("base")]
    for arm in stage_input.experiment.spec.arms:
        if arm.reuse_probe:
            seed = stage_input.experiment.spec.seed
            found.append(Candidate(f"{arm.name}-s{seed}", arm.name, seed, stage_input.inputs["probe"]["model"]))
            continue
        for seed in arm.seeds:
            model = stage_input.inputs[f"train-{arm.name}-s{seed}"]["model"]
            found.append(Candidate(f"{arm.name}-s{seed}", arm.name, seed, model))
    return found


def run_stage(stage_input: StageInput, store: Store, reporter: Reporter) -> StageResult:
    """Asks every model every benchmark; what an earlier attempt has finished is not asked again.

    Raises LimrError for what a person must mend, ActorLost and StoreError for what another attempt may survive.
    """
    spec = stage_input.experiment.spec
    with ExitStack() as resources:
        liveness = resources.enter_context(Liveness(reporter.beat, answer_seconds(spec.limits.heartbeat_seconds)))
        tokenizer = load_tokenizer(local_model(spec.model.uri, spec.storage.endpoint), spec.model.revision)
        benchmarks = load_questions(spec, tokenizer)
        connect()
        evaluation = _Evaluation(stage_input, store, reporter, benchmarks, liveness, resources)
        return evaluation.run()


class _Evaluation:
    def __init__(
        self,
        stage_input: StageInput,
        store: Store,
        reporter: Reporter,
        benchmarks: list[Questions],
        liveness: Liveness,
        resources: ExitStack,
    ) -> None:
        self._spec = spec = stage_input.experiment.spec
        self._folder = stage_input.stage.name
        self._candidates = candidates(stage_input)
        self._store, self._reporter, self._benchmarks = store, reporter, benchmarks
        self._started = time.monotonic()
        self._ledger = Ledger()
        self._grader = resources.enter_context(Grader(spec.reward))
        self._workers = topology.engines(spec.cluster.rollout, device_kind(spec.cluster))
        self._engines: EngineGroup | None = None
        self._resources = resources
        self._done = 0  # models
        self._part, self._work = "", Work()
        liveness.follow(others=lambda: self._engines.actors if self._engines else [])

    def run(self) -> StageResult:
        results: list[dict[str, Any]] = []
        try:
            for model in self._candidates:
                self._heed_stop()
                results.append(self._evaluate(model))
                self._done = len(results)
        except StopRequested:
            message = f"stopped after {len(results)} of {len(self._candidates)} models"
            return StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message=message, ledger=self._cost())
        self._say("done")
        cost = self._cost()
        data = json.dumps({"models": results, "ledger": cost.model_dump(by_alias=True)}, indent=1).encode()
        path = f"{self._folder}/results.json"
        return StageResult(
            outcome=Outcome.SUCCEEDED,
            reason="Completed",
            message=f"{len(results)} models, {len(self._benchmarks)} benchmarks",
            outputs={"results": put_output(self._store, path, data)},
            ledger=cost,
        )

    def _watch(self) -> None:
        """While something is waited for: reports what the engines have done, and drops the model at a stop."""
        work = total_work(self._engines.actors) if self._engines else Work()
        if work != self._work:
            self._work = work
            self._report()
        self._heed_stop()

    def _heed_stop(self) -> None:
        if self._reporter.stop_requested():
            raise StopRequested

    def _evaluate(self, model: Candidate) -> dict[str, Any]:
        path = f"{self._folder}/models/{model.name}.json"
        try:
            finished: dict[str, Any] = json.loads(self._store.get(path))
            return finished
        except NotFound:
            pass
        self._say(f"evaluating {model.name}")
        engines = self._engines_with(model) if self._benchmarks else None
        benchmarks = {}
        for questions in self._benchmarks:
            assert engines is not None
            answers = ask(questions, engines, self._grader, self._spec.seed)
            self._ledger += answers.ledger
            benchmarks[questions.benchmark.name] = {
                "questions": len(questions.prompts),
                "samples": questions.settings.samples,
                "temperature": questions.settings.temperature,
                "correct": answers.correct,
                "truncated_share": answers.truncated_share,
                "question_ids": [prompt.prompt_id for prompt in questions.prompts],
            }
        result = {"name": model.name, "arm": model.arm, "seed": model.seed, "benchmarks": benchmarks}
        self._store.put(path, json.dumps(result).encode())
        return result

    def _engines_with(self, model: Candidate) -> EngineGroup:
        """Engines that hold the model's weights, proven by what the learner said when it wrote them."""
        if self._engines is None:
            self._engines = self._start_engines()
            self._resources.callback(self._engines.close)
        if model.files is not None:
            said = read_uri(f"{model.files.uri}/{FINGERPRINT_FILE}", self._spec.storage.endpoint)
            self._engines.load_files(model.files.uri, model.files.digest, Fingerprint.from_json(said.decode()))
        return self._engines

    def _start_engines(self) -> EngineGroup:
        spec = self._spec
        capacity.wait_for([self._workers], spec.limits.wait_seconds, self._watch)
        settings = engine_settings(spec, benchmarks_too=True)
        return EngineGroup(self._workers, settings, spec.limits.wait_seconds, self._watch)

    def _cost(self) -> Ledger:
        seconds = self._workers.devices * (time.monotonic() - self._started)
        return self._ledger + Ledger(device_seconds=seconds)

    def _say(self, part: str) -> None:
        self._part, self._work = part, Work()
        self._report()

    def _report(self) -> None:
        self._reporter.progress(
            Progress(
                updated_at=time.time(),
                step=self._done,
                steps=len(self._candidates),
                message=self._part,
                part_done=self._work.done,
                part_size=self._work.total,
                ledger=self._cost(),
            )
        )
