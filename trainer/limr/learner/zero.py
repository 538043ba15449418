"""DeepSpeed ZeRO engines: how a module becomes one, and how its weights are gathered from their shards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import deepspeed
import torch
from torch import nn
from transformers.integrations import HfDeepSpeedConfig

from limr.spec import PPO


@dataclass(frozen=True)
class ZeroSettings:
    stage: int
    dtype: str
    offload_optimizer: bool

    def config(self, ppo: PPO, learning_rate: float | None) -> dict[str, Any]:
        """DeepSpeed's configuration; without a learning rate, that of a frozen model."""
        zero: dict[str, Any] = {"stage": self.stage}
        # On a CPU the optimizer is where offloading would bring it.
        if self.offload_optimizer and torch.cuda.is_available() and learning_rate is not None:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
        config: dict[str, Any] = {
            # limr forms micro-batches itself and weighs each token alike, so DeepSpeed is told of one a step.
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "zero_optimization": zero,
            "bf16": {"enabled": self.dtype == "bfloat16"},
        }
        if self.dtype == "bfloat16" and learning_rate is not None:
            # bfloat16 keeps 8 bits: a sum of many gradients would lose those that are 256 times smaller than it.
            # Costs 2 more bytes a parameter that a rank accumulates, and twice the gradients' traffic.
            config["data_types"] = {"grad_accum_dtype": "fp32"}
            config["communication_data_type"] = "fp32"
        if learning_rate is not None:
            config["gradient_clipping"] = ppo.max_grad_norm
            config["optimizer"] = {
                "type": "AdamW",
                "params": {
                    "lr": learning_rate,
                    "betas": list(ppo.adam_betas),
                    "eps": ppo.adam_epsilon,
                    "weight_decay": ppo.weight_decay,
                    # The fused variant is compiled at first use, for minutes; torch's own is as exact.
                    "torch_adam": not zero.get("offload_optimizer"),
                },
            }
        return config


def sharded_loading(config: dict[str, Any]) -> Any:
    """Keep the returned object while loading a model under ZeRO-3: each rank then holds its shard only."""
    return HfDeepSpeedConfig(config) if config["zero_optimization"]["stage"] == 3 else None


def trained(module: nn.Module, config: dict[str, Any]) -> Any:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(model=module, model_parameters=parameters, config=config)
    return engine


def frozen(module: nn.Module, config: dict[str, Any], device: torch.device) -> Any:
    """A module without gradients: whole on each rank, or sharded under ZeRO-3."""
    module.requires_grad_(False)
    module.eval()
    if config["zero_optimization"]["stage"] == 3:
        engine, *_ = deepspeed.initialize(model=module, config=config)
        engine.eval()
        return engine
    return module.to(device)


def whole_bytes(parameter: nn.Parameter) -> int:
    """Size of the whole parameter, also where ZeRO-3 holds a shard of it."""
    elements: int = getattr(parameter, "ds_numel", parameter.numel())
    return elements * parameter.element_size()


def gathered(parameters: Sequence[torch.Tensor]) -> AbstractContextManager[Any]:
    """Inside, `parameters` are whole on every rank. All ranks must enter together."""
    sharded = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    return deepspeed.zero.GatheredParameters(sharded) if sharded else nullcontext()
