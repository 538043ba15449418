"""What ends a probe or a training that goes wrong: `spec.guards`. limr.step_guards and limr.plan.guards act on it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from limr.spec.part import Part


class Action(StrEnum):
    SUSPEND = "Suspend"
    STOP = "Stop"


class Guard(Part):
    """Ends what goes wrong. Suspend: the whole experiment waits for a person; Stop: the stage fails, others go on."""

    action: Action = Field(
        Action.SUSPEND,
        description="Suspend: the whole experiment, until a person lets it go on. Stop: the stage fails at once.",
    )


class RewardCollapse(Guard):
    """A step is low when its mean reward is more than `drop` below the best mean over `steps` steps before it."""

    drop: float = Field(gt=0, description="How far the mean reward falls below its best, an average over `steps`.")
    steps: int = Field(10, ge=1, description="For how many steps in a row.")


class KLBound(Guard):
    above: float = Field(gt=0, description="Mean KL from the reference over a step's tokens, nats.")
    steps: int = Field(3, ge=1, description="For how many steps in a row.")


class NonFiniteNumber(Guard):
    """It always acts: nothing that follows such a number is worth keeping, and a retry would end at the same one."""


class GradNormBound(Guard):
    """A step is high when its gradient norm is above `times` its usual size, as limr.step_guards defines it."""

    times: float = Field(
        100.0, ge=0, description="How many times the median of the steps before, or ppo.maxGradNorm if larger; 0: off."
    )
    steps: int = Field(5, ge=1, description="For how many steps in a row.")


class AccuracyCollapse(Guard):
    """A step is low when its accuracy is below `share` of the best so far, as limr.step_guards defines it."""

    share: float = Field(0.33, ge=0, lt=1, description="Of the best training accuracy over `steps` steps; 0: off.")
    steps: int = Field(10, ge=1, description="For how many steps in a row.")


class Stall(Guard):
    seconds: int = Field(ge=10, description="Since the last step ended, or since the attempt began to work.")


class BudgetSpent(Guard):
    action: Action = Field(
        Action.STOP,
        description="Stop: the experiment fails. Suspend: it is suspended. It goes on when limits.deviceHours is "
        "raised, after both.",
    )


class Guards(Part):
    """What ends a probe or a training that goes wrong; docs/guards.md. Those without a default are off."""

    non_finite: NonFiniteNumber = Field(
        NonFiniteNumber(), description="A loss, gradient, log-probability or weight is infinite or no number."
    )
    grad_norm: GradNormBound = Field(
        GradNormBound(), description="The policy's gradient norm before clipping is far above its usual size."
    )
    accuracy_collapse: AccuracyCollapse = Field(
        AccuracyCollapse(), description="The share of correct training responses has fallen and stays down."
    )

    reward_collapse: RewardCollapse | None = Field(None, description="The mean reward has fallen and stays down.")
    kl: KLBound | None = Field(None, description="The policy is too far from the reference. Needs ppo.klCoefficient.")
    stall: Stall | None = Field(None, description="No step ends, though the stage says that it works.")
    device_hours: BudgetSpent = Field(BudgetSpent(), description="limits.deviceHours are spent.")

    def named(self, name: str) -> Guard | None:
        """The guard of the field `name`, as it is written in the resource; None: it is off."""
        field = next(field for field, info in type(self).model_fields.items() if info.alias == name)
        guard: Guard | None = getattr(self, field)
        return guard
