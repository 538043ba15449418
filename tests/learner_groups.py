"""Real learners on the tiny model, and steps for them to make."""

from __future__ import annotations

from pathlib import Path

from engines import MODEL, step_batch

from limr.learner.group import LearnerGroup
from limr.learner.types import LearnerSettings
from limr.spec import PPO, Role


def learners(
    replicas: int, *, root: str = "unused", endpoint: str | None = None, dtype: str = "float32", **ppo: object
) -> LearnerGroup:
    """A group that has started. `ppo` has fields of spec.ppo that are not as here."""
    fields = {
        "promptsPerStep": 8,
        "samplesPerPrompt": 4,
        "trainBatchSize": 16,
        "temperature": 1.0,
        "actorLearningRate": 1e-4,
        "criticLearningRate": 1e-3,
        "warmupUpdates": 0,
        "zeroStage": 1,
        "gradientCheckpointing": False,
    }
    group = LearnerGroup(
        Role(replicas=replicas),
        LearnerSettings(
            model=str(MODEL),
            revision=None,
            root=root,
            endpoint=endpoint,
            dtype=dtype,
            ppo=PPO.model_validate(fields | ppo),
            seed=1,
            total_updates=100,
            deadline_seconds=300,
            scratch=Path("limr-tests/attempt-1"),
        ),
        wait_seconds=300,
    )
    group.start()
    return group


def trained(group: LearnerGroup, steps: range, responses: int = 32) -> list[dict[str, float]]:
    return [group.measure(step_batch(step, responses, 4)).metrics | group.update() for step in steps]
