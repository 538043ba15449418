"""What went wrong in training itself: said before anything about selection, which then compares damaged models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from limr.report.comparison import BASE
from limr.report.findings import about, by_points, joined
from limr.report.schema import Difference, Row, Verdict
from limr.report.sources import Steps
from limr.spec import PPO, Guards
from limr.step_guards import judge


def problems(
    trainings: Sequence[Steps], ppo: PPO, table: Sequence[Row], differences: Sequence[Difference]
) -> Iterator[str]:
    """A sentence on trainings that collapsed, and one when every arm that was evaluated is worse than the base model.

    `trainings`: the probe and all arms' trainings.
    """
    failed = [(steps.stage.name, why) for steps in trainings if (why := _failure(steps, ppo))]
    if failed:
        stages = ", ".join(f"{name} ({why})" for name, why in failed)
        yield f"Training collapsed in {stages}: what follows compares damaged models, not selections of prompts."
    arms = [row for row in table if row.strategy is not None and row.benchmarks]
    against_base = [found for arm in arms for found in about(arm, differences) if found.second == BASE]
    if against_base and all(found.verdict is Verdict.WORSE for found in against_base):
        losses = joined(f"{found.first} by {by_points(found)}" for found in against_base)
        yield (
            f"Every arm is worse than the base model, {losses}: training did harm, so a comparison of the arms says "
            "nothing about which prompts to choose. Lower ppo.actorLearningRate or look at the rewards first."
        )


def _failure(steps: Steps, ppo: PPO) -> str | None:
    """As the default guards see the finished training, whichever the experiment had."""
    for step in steps.metrics:
        for name in ("policy_loss", "actor_grad_norm"):
            if not isfinite(step.get(name, 0.0)):
                return f"{name} was not finite at step {step['step']}"
    alarm = judge(Guards(), ppo, steps.metrics).alarm
    return alarm.report if alarm else None
