"""What one rank owns of a model's training state: master weights and Adam's moments, in whichever ZeRO stage.

ZeRO-3 gives each rank an equal part of every parameter, the last one filled up. ZeRO-1 and 2 (and DeepSpeed's
BF16_Optimizer) flatten all parameters into one vector and give each rank an equal part of that, so a rank owns a range
of few of them. Both are here behind the same four methods; DeepSpeed's filling is never handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, cast

import torch
import torch.distributed as dist
from deepspeed.utils import (
    safe_get_local_fp32_param,
    safe_get_local_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor, nn

from limr.learner.sharding import TENSORS, Range


class Fragments(Protocol):
    """This rank's part of each trained parameter, by the parameter's name."""

    shapes: dict[str, tuple[int, ...]]  # of all parameters
    owned: dict[str, Range]  # of those of which this rank has anything

    def read(self, name: str, tensor: str) -> Tensor:
        """The owned elements of one of TENSORS, float32 [stop − start] on the CPU."""
        ...

    def write(self, name: str, tensor: str, values: Tensor) -> None:
        """Replaces what `read` returns. The model computes with it after `refresh`."""
        ...

    def refresh(self) -> None:
        """Brings the weights that the model computes with to the masters. All ranks must call it together."""
        ...


def fragments(engine: Any) -> Fragments:
    """`engine` is a trained DeepSpeed engine; Adam's moments are made when it has made no step yet."""
    optimizer = engine.optimizer
    _make_moments(optimizer, _flat_masters(optimizer))
    parameters = dict(_trained_parameters(engine.module))
    if any(hasattr(parameter, "ds_id") for parameter in parameters.values()):
        return _Zero3Fragments(optimizer, parameters)
    optimizer._lazy_init_hp_params_optimizer_state()
    return _FlatFragments(optimizer, parameters)


def set_adam_steps(engine: Any, steps: int) -> None:
    """`steps` optimizer steps are behind the moments."""
    for master in _flat_masters(engine.optimizer):
        engine.optimizer.optimizer.state[master]["step"] = _step_count(engine.optimizer, steps)


class _Zero3Fragments:
    def __init__(self, optimizer: Any, parameters: dict[str, nn.Parameter]) -> None:
        self._optimizer = optimizer
        self._parameters = sharded = cast(dict[str, Any], parameters)  # DeepSpeed adds to them
        self.shapes = {name: tuple(parameter.ds_shape) for name, parameter in sharded.items()}
        ranges = {name: self._range(parameter) for name, parameter in sharded.items()}
        self.owned = {name: part for name, part in ranges.items() if part.start < part.stop}

    def read(self, name: str, tensor: str) -> Tensor:
        parameter = self._parameters[name]
        if tensor == "master":
            whole = safe_get_local_fp32_param(parameter)
        else:
            whole = safe_get_local_optimizer_state(parameter, tensor)
        return _on_cpu(whole[: self._length(name)])

    def write(self, name: str, tensor: str, values: Tensor) -> None:
        parameter = self._parameters[name]
        filled = torch.zeros(parameter.ds_tensor.numel(), dtype=torch.float32)
        filled[: self._length(name)] = values
        if tensor == "master":
            safe_set_local_fp32_param(parameter, filled)
        else:
            safe_set_local_optimizer_state(parameter, filled, tensor)

    def refresh(self) -> None:
        self._optimizer.checkpoint_event_prologue()  # small parameters, which stay gathered, are given up …
        for sub_group in range(len(self._optimizer.fp32_partitioned_groups_flat)):
            self._optimizer._reassign_or_swap_out_partitioned_parameters(sub_group)
        self._optimizer.checkpoint_event_epilogue()  # … and gathered again

    def _length(self, name: str) -> int:
        return self.owned[name].stop - self.owned[name].start

    def _range(self, parameter: Any) -> Range:
        size, rank = parameter.ds_tensor.numel(), dist.get_rank()
        return Range(min(rank * size, parameter.ds_numel), min((rank + 1) * size, parameter.ds_numel))


class _FlatFragments:
    def __init__(self, optimizer: Any, parameters: dict[str, nn.Parameter]) -> None:
        self._optimizer = optimizer
        self.shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        mappings = {name: getattr(parameter, "_hp_mapping", None) for name, parameter in parameters.items()}
        self._mappings = {name: mapping for name, mapping in mappings.items() if mapping is not None}
        self.owned = {name: self._range(mapping) for name, mapping in self._mappings.items()}

    def read(self, name: str, tensor: str) -> Tensor:
        return _on_cpu(self._view(name, tensor))

    def write(self, name: str, tensor: str, values: Tensor) -> None:
        self._view(name, tensor).copy_(values)

    def refresh(self) -> None:
        self._optimizer.update_lp_params()

    def _view(self, name: str, tensor: str) -> Tensor:
        view: Tensor = self._mappings[name].get_hp_fragment(None if tensor == "master" else tensor)
        return view.detach()

    def _range(self, mapping: Any) -> Range:
        address = mapping.lp_fragment_address
        return Range(address.start, address.start + address.numel)


def _trained_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Tied parameters come once, under their first name."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _flat_masters(optimizer: Any) -> list[Tensor]:
    """The tensors to which Adam's state belongs."""
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):  # ZeRO-3 empties the groups between steps
        return list(optimizer.fp32_partitioned_groups_flat)
    return [master for group in optimizer.optimizer.param_groups for master in group["params"]]


def _make_moments(optimizer: Any, masters: list[Tensor]) -> None:
    """What Adam makes in its first step, made before it."""
    for master in masters:
        state = optimizer.optimizer.state[master]
        if not state:
            state["step"] = _step_count(optimizer, 0)
            state.update({name: torch.zeros_like(master, requires_grad=False) for name in TENSORS[1:]})


def _step_count(optimizer: Any, steps: int) -> Tensor | int:
    """As torch's Adam keeps it, or DeepSpeed's for offloaded states."""
    return torch.tensor(float(steps)) if isinstance(optimizer.optimizer, torch.optim.AdamW) else steps


def _on_cpu(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float32).contiguous()
