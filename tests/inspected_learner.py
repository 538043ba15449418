"""A learner that tests look into: what one rank holds, and the gradient before the optimizer takes it."""

from __future__ import annotations

import numpy as np
import torch
from deepspeed.utils import safe_get_full_grad
from numpy.typing import NDArray

from limr.learner.learner import Learner
from limr.learner.types import NonFinite, StepBatch


class InspectedLearner(Learner):
    def damage(self, name: str, rank: int) -> None:
        """Puts a NaN into what learner `rank` holds of the policy's parameter `name`, as a faulty device would."""
        if self._rank != rank:
            return
        parameter = dict(self._actor.module.lm.named_parameters())[name]
        held = parameter.ds_tensor if hasattr(parameter, "ds_tensor") else parameter
        with torch.no_grad():
            held.view(-1)[0] = float("nan")

    def check(self) -> str:
        """What this rank says about all weights."""
        try:
            self._finite.check_weights(self._modules(), "after step 0")
        except NonFinite as error:
            return str(error)
        return ""

    def measure_step(self, batch: StepBatch) -> None:
        for index in range(self.begin_step(batch)):
            self.measure_minibatch(index)
        self.finish_measuring()

    def update_step(self) -> None:
        for index in range(self.begin_updates()):
            self.update(index)
        self.finish_updates()

    def gradient(self, batch: StepBatch) -> NDArray[np.float32]:
        """Of the policy in the batch's last update, as the optimizer is given it, over all ranks; flat."""
        found: list[NDArray[np.float32]] = []

        def keep(step: object = self._actor.step) -> None:
            parts = [safe_get_full_grad(parameter) for parameter in self._actor.module.parameters()]
            found.append(torch.cat([part.flatten().float() for part in parts]).numpy())
            step()

        self._actor.step = keep
        self.measure_step(batch)
        self.update_step()
        del self._actor.step
        return found[-1]

    def head_error(self, batch: StepBatch) -> float:
        """How far the critic's values are from those of its head in float64 with the optimizer's own weights."""
        self.measure_step(batch)
        head, errors = self._critic.module.head, []
        exact = {name: head.master(parameter).double() for name, parameter in head.named_parameters()}

        def compare(module: torch.nn.Module, inputs: tuple[torch.Tensor], values: torch.Tensor) -> None:
            expected = inputs[0].double() @ exact["weight"].T + exact["bias"]
            errors.append(float((values.double() - expected).abs().max()))

        with head.register_forward_hook(compare), torch.no_grad():
            for micro in self._micro_batches():
                self._critic(micro.layout)
        return max(errors)
