"""Probe and training: the loop, readable top to bottom.

A step samples responses, grades them, fixes the experience, updates the weights, brings the engines to them and
records what happened. Every random draw is a function of (seed, step): after a kill at any moment the run goes on
from its last checkpoint and ends with the same bytes. What is left out on purpose: sampling ahead of training
(asynchronous rollouts), which would make runs faster on large clusters and no longer repeatable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from limr import devices, scratch
from limr.actors import connect
from limr.curve import condensed
from limr.evaluate import Questions, ask, load_questions
from limr.learner.group import LearnerGroup
from limr.learner.types import LearnerSettings
from limr.model_files import FINGERPRINT_FILE
from limr.records import Sampled, grade_requests, step_batch, step_metrics, text_table, trajectory_table
from limr.reward.pool import Grader
from limr.rollout.group import EngineGroup
from limr.rollout.types import Rollouts, SamplingSettings, engine_settings, sample_seed
from limr.stage import Ledger, Outcome, Progress, Reporter, StageInput, StageResult, good_checkpoint
from limr.step_guards import Alarm, Judgement, judge
from limr.stopwatch import Pace, Stopwatch
from limr.store.base import Store
from limr.store.digest import FileRecord
from limr.store.folders import merged, send
from limr.store.journal import Journal
from limr.store.manifest import rounded
from limr.workload import Workload, load_workload

FINGERPRINT_TOKENS = 64


def run_stage(stage_input: StageInput, store: Store, reporter: Reporter) -> StageResult:
    """Runs a Probe or Training stage from its last checkpoint to its end, or to where it was asked to stop.

    Raises LimrError for what a person must mend, ActorLost and StoreError for what another attempt may survive.
    """
    workload = load_workload(stage_input)
    keep = stage_input.experiment.spec.checkpoint.keep
    with ExitStack() as resources:
        wait = stage_input.experiment.spec.limits.wait_seconds
        journal = resources.enter_context(
            Journal.open(store, stage_input.stage.name, stage_input.attempt, keep=keep, deadline_seconds=wait)
        )
        if journal.manifest.finished:  # by an attempt that was cut off before it could say so
            return _finished(journal, Ledger())
        connect()
        return Trainer(stage_input, store, journal, reporter, workload, resources).run()


class Trainer:
    """One attempt of a stage, with engines, learners and grader that `resources` closes."""

    def __init__(
        self,
        stage_input: StageInput,
        store: Store,
        journal: Journal,
        reporter: Reporter,
        workload: Workload,
        resources: ExitStack,
    ) -> None:
        self._spec = spec = stage_input.experiment.spec
        self._attempt = stage_input.attempt
        self._store = store
        self._journal, self._reporter, self._work = journal, reporter, workload
        self._scratch = scratch.folder_name(f"{store.uri}/{stage_input.stage.name}", self._attempt)
        scratch.claim(self._scratch)
        resources.callback(scratch.release, self._scratch)
        self._grader = resources.enter_context(Grader(spec.reward))
        # Engines and learners load their libraries and models side by side.
        self._engine_settings = engine_settings(spec, spec.ppo.max_response_tokens)
        self._engines = EngineGroup(spec.cluster.rollout, self._engine_settings, spec.limits.wait_seconds)
        resources.callback(self._engines.close)
        self._learners = LearnerGroup(spec.cluster.learner, self._learner_settings(), spec.limits.wait_seconds)
        resources.callback(self._learners.close)
        self._questions: list[Questions] = []
        if spec.evaluation.every_steps is not None:
            self._questions = load_questions(spec, workload.tokenizer)
        self._devices = devices.device_count(spec.cluster, devices.cluster_has_gpus())
        self._history: list[Mapping[str, float]] = []  # metrics of every step, as the manifest has them
        # Rows and checkpoint of a step are written when its metrics are complete: the next step reports their seconds.
        self._writing = Stopwatch()
        self._charged_until = time.monotonic()
        self._total = Ledger()  # of the stage, up to where it stands
        self._spent = Ledger()  # of this attempt, with what it does a second time

    def run(self) -> StageResult:
        steps = self._work.steps
        self._pace = Pace(0, steps)
        self._report(0, "starting engines and learners")
        self._learners.start()
        self._grader.wait_ready()  # a reward function that cannot be imported shows here, not after a step
        done = self._restore()
        self._sync(done)
        self._pace = Pace(done, steps)
        for step in range(done + 1, steps + 1):
            self._history.append(rounded(self._step(step)))
            judged = self._judge()
            stop = step < steps and self._reporter.stop_requested()
            if not judged.suspect and (stop or step == steps or self._checkpoint_due(step)):
                with self._writing("writing"):
                    self._checkpoint(step)
            if stop or judged.alarm:
                self._journal.complete()
            self._report(step, "done")
            if judged.alarm:
                return self._guarded(judged.alarm)
            if stop:
                suspicion = (
                    f"; a guard suspects the last steps, {good_checkpoint(self._checkpoint_step())}"
                    if judged.suspect
                    else ""
                )
                message = f"stopped after step {step} of {steps}{suspicion}"
                return StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message=message, ledger=self._spent)
        self._publish()
        return _finished(self._journal, self._spent)

    # Guards

    def _judge(self) -> Judgement:
        rewards = [step["reward_mean"] for step in self._history]
        kls = [step["kl"] for step in self._history if "kl" in step]  # in all, or in none
        return judge(self._spec.guards, rewards, kls)

    def _guarded(self, alarm: Alarm) -> StageResult:
        return StageResult(
            outcome=Outcome.GUARDED,
            reason=alarm.reason,
            message=f"{alarm.message}; {good_checkpoint(self._checkpoint_step())}",
            tripped=alarm.tripped,
            ledger=self._spent,
        )

    # A step

    def _step(self, step: int) -> dict[str, float]:
        work, clock = self._work, Stopwatch()
        with self._part("generation", step, clock):
            indices = work.sampler.indices(step)
            rollouts = self._sample([work.tokens[index] for index in indices], step)
        with self._part("grading", step, clock):
            samples = self._spec.ppo.samples_per_prompt
            requests = grade_requests(rollouts, [work.prompts[index] for index in indices.repeat(samples)])
            grades = self._grader.grade(requests)
            sampled = Sampled(step, work.sampler.epoch(step), indices, samples, rollouts, grades)
        with self._part("logprobs", step, clock):
            measured = self._learners.measure(step_batch(sampled, work.tokens))
        with self._part("training", step, clock):
            metrics = measured.metrics | self._learners.update()
        with self._part("sync", step, clock):
            self._sync(step)
        metrics |= step_metrics(sampled) | self._evaluate(step)
        self._charge(sampled)
        metrics |= clock.parts() | self._writing.parts() | {"seconds_step": clock.total()}
        self._writing = Stopwatch()
        with self._writing("writing"):
            metrics |= {"rollouts": self._total.rollouts, "response_tokens": self._total.response_tokens}
            metrics |= {"tokens_per_second": len(rollouts.tokens) / clock.total()}
            table = trajectory_table(sampled, measured, work.prompts, self._attempt)
            texts = text_table(sampled, work.prompts) if self._spec.storage.texts else None
            self._journal.add_step(step, sampled.epoch, table, metrics, texts)
        self._reporter.step(
            metrics | self._standing(step, rollouts),
            {"response_tokens": rollouts.lengths, "sampler_ratio": measured.ratio_mean},
        )
        return metrics

    def _standing(self, step: int, rollouts: Rollouts) -> dict[str, float]:
        """How this process stands after the step, which is of no interest later."""
        return {
            "step": step,
            "policy_version_lag": step - 1 - rollouts.version,
            "engine_restarts": self._engines.replaced,
            "store_queue": self._journal.on_their_way,
            "uncommitted": step - self._journal.manifest.last_step,
        }

    @contextmanager
    def _part(self, name: str, step: int, clock: Stopwatch) -> Iterator[None]:
        """Times a part of the step and tells that it began: with large models the next sign of life is minutes away.

        The learners are idle then, and tell whether the last checkpoint has come to the store.
        """
        self._journal.poll()
        self._report(step - 1, name)
        with clock(name):
            yield

    def _sample(self, prompts: list[list[int]], step: int) -> Rollouts:
        ppo = self._spec.ppo
        settings = SamplingSettings(ppo.samples_per_prompt, ppo.temperature, ppo.top_p, ppo.max_response_tokens)
        seeds = [sample_seed(self._work.seed, step, position) for position in range(len(prompts))]
        return self._engines.generate(prompts, seeds, settings)

    def _sync(self, version: int) -> None:
        text = self._work.fingerprint_text(min(FINGERPRINT_TOKENS, self._engine_settings.max_model_len - 1))
        weights, self._fingerprint = self._learners.publish(version, text)
        self._engines.sync(weights, self._fingerprint)

    def _evaluate(self, step: int) -> dict[str, float]:
        every = self._spec.evaluation.every_steps
        if every is None or step % every:
            return {}
        return {
            f"eval_{questions.benchmark.name}": ask(questions, self._engines, self._grader, self._spec.seed).accuracy
            for questions in self._questions
        }

    # What stays of it

    def _restore(self) -> int:
        """The number of steps done before, with learners and ledger as they were after them."""
        folder = Path("restored")
        checkpoint = self._journal.restore(partial(self._learners.fetch, folder))
        if checkpoint is None:
            return 0
        self._learners.restore(folder)
        self._learners.discard(folder)
        self._total = checkpoint.ledger
        self._history = [step.metrics for step in self._journal.manifest.steps]
        return checkpoint.step

    def _checkpoint_step(self) -> int | None:
        """The step of the last checkpoint that is truth."""
        checkpoints = self._journal.manifest.checkpoints
        return checkpoints[-1].step if checkpoints else None

    def _checkpoint_due(self, step: int) -> bool:
        """At each multiple of everySteps; one that was left out because its step was suspect, after the next that is
        not."""
        every = self._spec.checkpoint.every_steps
        return step // every > self._journal.checkpoint_step // every

    def _checkpoint(self, step: int) -> None:
        """Training goes on once the state lies on the learners' machines; it is sent meanwhile."""
        self._journal.begin_commit(step, partial(self._learners.save, Path(f"step-{step}")), self._total)

    def _publish(self) -> None:
        """Writes the trained model and ends the stage's history."""
        self._journal.finish({"model": self._journal.publish("model", self._send_model)}, self._total)

    def _send_model(self, path: str) -> tuple[FileRecord, ...]:
        weights = self._learners.export(Path("weights"), path)
        beside = scratch.root() / self._scratch / "beside-weights"
        self._work.tokenizer.save_pretrained(beside)
        (beside / FINGERPRINT_FILE).write_text(self._fingerprint.to_json())
        return merged([weights, send(self._store, beside, path)])

    def _charge(self, sampled: Sampled) -> None:
        now = time.monotonic()
        prompt_tokens = sum(len(self._work.tokens[index]) for index in sampled.prompt_of_response())
        cost = Ledger(
            rollouts=len(sampled.grades),
            prompt_tokens=prompt_tokens,
            response_tokens=len(sampled.rollouts.tokens),
            device_seconds=self._devices * (now - self._charged_until),
        )
        self._charged_until = now
        self._total += cost
        self._spent += cost

    def _report(self, step: int, message: str) -> None:
        last = self._history[-1] if self._history else {}
        self._reporter.progress(
            Progress(
                updated_at=time.time(),
                step=step,
                steps=self._work.steps,
                message=message,
                reward_mean=last.get("reward_mean"),
                reward_curve=condensed([metrics["reward_mean"] for metrics in self._history]),
                tokens_per_second=last.get("tokens_per_second"),
                eta_seconds=self._pace.eta(step),
                checkpoint_step=self._checkpoint_step(),
                ledger=self._spent,
            )
        )

    def _learner_settings(self) -> LearnerSettings:
        spec = self._spec
        return LearnerSettings(
            model=spec.model.uri,
            revision=spec.model.revision,
            root=self._store.uri,
            endpoint=spec.storage.endpoint,
            dtype=spec.model.dtype,
            ppo=spec.ppo,
            seed=self._work.seed,
            total_updates=self._work.steps * spec.ppo.updates_per_step,
            deadline_seconds=spec.limits.wait_seconds,
            scratch=self._scratch,
        )


def _finished(journal: Journal, spent: Ledger) -> StageResult:
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        reason="Completed",
        message=f"{journal.manifest.last_step} steps",
        outputs={**journal.manifest.outputs, "manifest": journal.output},
        ledger=spent,
    )
