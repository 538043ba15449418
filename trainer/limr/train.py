"""Probe and training: the loop, readable top to bottom.

A step samples responses, grades them, fixes the experience, updates the weights, brings the engines to them and
records what happened. Every random draw is a function of (seed, step): after a kill at any moment the run goes on
from its last checkpoint and ends with the same bytes. A stop is heard at any moment: the step in flight is finished
when that is a matter of seconds, else dropped, to be made again with the same draws. What is left out on purpose:
sampling ahead of training
(asynchronous rollouts), which would make runs faster on large clusters and no longer repeatable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from limr import capacity, scratch, topology
from limr.actors import Work, connect, total_work
from limr.devices import device_kind
from limr.evaluate import Questions, ask, load_questions
from limr.learner.group import LEARNER, LearnerGroup
from limr.learner.types import LearnerSettings, NonFinite
from limr.liveness import Liveness, answer_seconds
from limr.model_files import FINGERPRINT_FILE
from limr.records import Sampled, grade_requests, step_batch, step_metrics, text_table, trajectory_table
from limr.reward.pool import Grader
from limr.rollout.group import EngineGroup
from limr.rollout.types import Rollouts, SamplingSettings, engine_settings, sample_seed
from limr.sizing.stage import offloads, plan_stage
from limr.stage import Ledger, Outcome, Reporter, StageInput, StageResult, good_checkpoint
from limr.step_guards import Alarm, Judgement, judge, non_finite
from limr.stopping import StepClock, StopRequested, hold
from limr.stopwatch import Stopwatch
from limr.store.base import Store
from limr.store.digest import FileRecord
from limr.store.folders import merged, send
from limr.store.journal import Journal
from limr.store.manifest import rounded
from limr.training_progress import TrainingProgress
from limr.workload import Workload, load_workload

FINGERPRINT_TOKENS = 64
WAITING = "waiting for machines"
SAMPLING_PARTS = frozenset({"generation", "evaluation"})  # whose progress is that of the engines


def run_stage(stage_input: StageInput, store: Store, reporter: Reporter, learner: str = LEARNER) -> StageResult:
    """Runs a Probe or Training stage from its last checkpoint to its end, or to where it was asked to stop.

    `learner` is the factory of the learners' processes. Raises LimrError for what a person must mend, ActorLost and
    StoreError for what another attempt may survive.
    """
    spec = stage_input.experiment.spec
    with ExitStack() as resources:
        liveness = resources.enter_context(Liveness(reporter.beat, answer_seconds(spec.limits.heartbeat_seconds)))
        workload = load_workload(stage_input)
        keep, limit = spec.checkpoint.keep, spec.limits.wait_seconds
        journal = resources.enter_context(
            Journal.open(store, stage_input.stage.name, stage_input.attempt, keep=keep, deadline_seconds=limit)
        )
        if journal.manifest.finished:  # by an attempt that was cut off before it could say so
            return _finished(journal, Ledger())
        connect()
        return Trainer(stage_input, store, journal, reporter, workload, liveness, learner, resources).run()


class Trainer:
    """One attempt of a stage, with engines, learners and grader that `resources` closes."""

    def __init__(
        self,
        stage_input: StageInput,
        store: Store,
        journal: Journal,
        reporter: Reporter,
        workload: Workload,
        liveness: Liveness,
        learner: str,
        resources: ExitStack,
    ) -> None:
        self._spec = spec = stage_input.experiment.spec
        self._attempt = stage_input.attempt
        self._learner, self._liveness, self._resources = learner, liveness, resources
        self._store = store
        self._journal, self._reporter, self._work = journal, reporter, workload
        self._scratch = scratch.folder_name(f"{store.uri}/{stage_input.stage.name}", self._attempt)
        scratch.claim(self._scratch)
        resources.callback(scratch.release, self._scratch)
        self._grader = resources.enter_context(Grader(spec.reward))
        kind = device_kind(spec.cluster)
        self._plan = plan_stage(spec, kind)
        self._engine_workers = topology.engines(spec.cluster.rollout, kind)
        self._learner_workers = topology.learners(spec.cluster.learner, kind)
        self._engine_settings = engine_settings(spec, benchmarks_too=spec.evaluation.every_steps is not None)
        self._questions: list[Questions] = []
        if spec.evaluation.every_steps is not None:
            self._questions = load_questions(spec, workload.tokenizer)
        self._progress = TrainingProgress(reporter, workload.steps, self._checkpoint_step)
        self._step_clock = StepClock()
        self._droppable = True  # whether a stop may end what is at work
        self._suspect = False  # whether a guard suspects the last steps
        self._held: Path | None = None  # where the state before the step's updates lies
        # Rows and checkpoint of a step are written when its metrics are complete: the next step reports their seconds.
        self._writing = Stopwatch()

    def run(self) -> StageResult:
        try:
            alarm = self._run()
        except StopRequested:
            return self._dropped()
        except NonFinite as error:  # raised before the step's checkpoint, and before a sync of its weights
            self._droppable = False
            self._journal.complete()
            return self._guarded(non_finite(self._spec.guards, error))
        if alarm:
            return self._guarded(alarm)
        if self._progress.done < self._work.steps:
            return self._suspended()
        self._publish()
        return _finished(self._journal, self._progress.spent)

    def _run(self) -> Alarm | None:
        """Makes steps up to the last one, to a stop, or to a guard's alarm."""
        self._start()
        steps = self._work.steps
        for step in range(self._progress.done + 1, steps + 1):
            self._progress.history.append(rounded(self._step(step)))
            judged = self._judge()
            self._suspect = judged.suspect
            stop = step < steps and self._reporter.stop_requested()
            if not judged.suspect and (stop or step == steps or self._checkpoint_due(step)):
                with self._writing("writing"):
                    self._checkpoint(step)
            if judged.alarm or stop:
                self._journal.complete()
            self._progress.finish_step(step)
            if judged.alarm or stop:
                return judged.alarm
        return None

    def _start(self) -> None:
        learners, engines, limit = self._learner_workers, self._engine_workers, self._spec.limits.wait_seconds
        capacity.wait_for([learners, engines], limit, self._no_machines_yet)
        self._progress.charge_from_now(learners.devices + engines.devices)
        # Engines and learners load their libraries and models side by side.
        self._engines = EngineGroup(engines, self._engine_settings, limit, self._watch)
        self._resources.callback(self._engines.close)
        self._learners = LearnerGroup(learners, self._learner_settings(), limit, self._watch, self._learner)
        self._resources.callback(self._learners.close)
        self._liveness.follow(vital=lambda: self._learners.actors, others=lambda: self._engines.actors)
        self._progress.enter("loading the learners' models")
        self._learners.start()
        self._grader.wait_ready()  # a reward function that cannot be imported shows here, not after a step
        self._progress.enter("restoring the last checkpoint")
        done = self._restore()
        self._progress.enter("loading the engines' model")
        self._engines.start()
        self._progress.enter("first sync")
        self._sync(done)
        self._progress.begin(done)

    def _no_machines_yet(self) -> None:
        if self._progress.part != WAITING:
            self._progress.enter(WAITING)
        self._watch()

    # Stops

    def _watch(self) -> None:
        """While something is waited for: a lost learner or a stop ends what is at work."""
        self._liveness.check()
        if self._progress.part in SAMPLING_PARTS:
            self._progress.within(total_work(self._engines.actors))
        if self._reporter.stop_requested() and self._droppable and self._step_clock.must_drop():
            raise StopRequested

    def _measured(self, work: Work) -> None:
        self._progress.within(work)
        self._watch()

    def _updated(self, work: Work) -> None:
        self._step_clock.update(work.done, work.total)
        self._progress.within(work)
        self._watch()

    def _dropped(self) -> StageResult:
        """Gives up the step in flight and keeps what was done before it."""
        self._droppable = False
        self._progress.charge_dropped()
        self._progress.enter("stopping")
        done = self._progress.done
        if done and not self._suspect and self._journal.checkpoint_step != done:
            if not self._step_clock.updating:
                self._checkpoint(done)
            elif self._held is not None:
                self._journal.begin_commit(done, partial(self._learners.send, self._held), self._progress.total)
        self._journal.complete()
        return self._suspended()

    def _suspended(self) -> StageResult:
        kept = self._checkpoint_step() or 0
        done = max(self._progress.done, kept)  # it may not have come to restoring
        message = f"stopped after step {done} of {self._work.steps}"
        if self._suspect:
            message += f"; a guard suspects the last steps, {good_checkpoint(kept)}"
        elif kept < done:
            message += f"; the updates of step {done + 1} had begun, so it goes on after step {kept}"
        return StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message=message, ledger=self._progress.spent)

    # Guards

    def _judge(self) -> Judgement:
        return judge(self._spec.guards, self._spec.ppo, self._progress.history)

    def _guarded(self, alarm: Alarm) -> StageResult:
        return StageResult(
            outcome=Outcome.GUARDED,
            reason=alarm.reason,
            message=f"{alarm.message}; {good_checkpoint(self._checkpoint_step())}",
            tripped=alarm.tripped,
            ledger=self._progress.spent,
        )

    # A step

    def _step(self, step: int) -> dict[str, float]:
        work, clock = self._work, Stopwatch()
        self._droppable = True
        with self._part("generation", clock):
            indices = work.sampler.indices(step)
            rollouts = self._sample([work.tokens[index] for index in indices], step)
        with self._part("grading", clock):
            samples = self._spec.ppo.samples_per_prompt
            requests = grade_requests(rollouts, [work.prompts[index] for index in indices.repeat(samples)])
            grades = self._grader.grade(requests)
            sampled = Sampled(step, work.sampler.epoch(step), indices, samples, rollouts, grades)
        with self._part("logprobs", clock):
            measured = self._learners.measure(step_batch(sampled, work.tokens), self._measured)
        self._hold(clock)
        with self._part("training", clock):
            self._step_clock.begin_updates()
            metrics = measured.metrics | self._learners.update(self._updated)
        with self._part("sync", clock):
            self._sync(step)
        metrics |= step_metrics(sampled) | self._evaluate(step)
        self._droppable = False
        self._release()
        self._step_clock.end_step(clock.total(), clock.parts().get("seconds_holding"))
        prompt_tokens = sum(len(work.tokens[index]) for index in sampled.prompt_of_response())
        self._progress.charge(sampled, prompt_tokens)
        metrics |= clock.parts() | self._writing.parts() | {"seconds_step": clock.total()}
        self._writing = Stopwatch()
        with self._writing("writing"):
            metrics |= {
                "rollouts": self._progress.total.rollouts,
                "response_tokens": self._progress.total.response_tokens,
            }
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
    def _part(self, name: str, clock: Stopwatch) -> Iterator[None]:
        """Times a part of the step and reports that it began.

        The learners are idle then, and tell whether the last checkpoint has come to the store.
        """
        self._journal.poll()
        self._progress.enter(name)
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
        self._progress.enter("evaluation")
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
        self._progress.total = checkpoint.ledger
        self._progress.history = [step.metrics for step in self._journal.manifest.steps]
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
        self._progress.enter("checkpoint")
        self._journal.begin_commit(step, partial(self._learners.save, Path(f"step-{step}")), self._progress.total)

    def _hold(self, clock: Stopwatch) -> None:
        """Keeps the state before the step's updates on the learners' machines, where a stop would need it."""
        done = self._progress.done
        if done and not self._suspect and self._journal.checkpoint_step != done and hold(self._step_clock.last):
            folder = Path(f"held-{done}")
            with self._part("holding", clock):
                self._learners.hold(folder)
            self._held = folder

    def _release(self) -> None:
        if self._held is not None:
            self._learners.discard(self._held)
            self._held = None

    def _publish(self) -> None:
        """Writes the trained model and ends the stage's history."""
        self._journal.finish({"model": self._journal.publish("model", self._send_model)}, self._progress.total)

    def _send_model(self, path: str) -> tuple[FileRecord, ...]:
        weights = self._learners.export(Path("weights"), path)
        beside = scratch.root() / self._scratch / "beside-weights"
        self._work.tokenizer.save_pretrained(beside)
        (beside / FINGERPRINT_FILE).write_text(self._fingerprint.to_json())
        return merged([weights, send(self._store, beside, path)])

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
            offload_optimizer=offloads(spec, self._plan),
        )


def _finished(journal: Journal, spent: Ledger) -> StageResult:
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        reason="Completed",
        message=f"{journal.manifest.last_step} steps",
        outputs={**journal.manifest.outputs, "manifest": journal.output},
        ledger=spent,
    )
