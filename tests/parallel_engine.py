"""An engine whose model is spread over two worker processes of vLLM, started as EngineGroup starts it."""

from __future__ import annotations

from engines import cpu_engines

from limr.actors import Actor
from limr.devices import actor_options
from limr.rollout.types import EngineSettings


def parallel_engine(settings: EngineSettings) -> Actor:
    workers = cpu_engines(tensor_parallel=2)
    arguments = [settings, workers.kind, workers.devices_per_actor]
    options = actor_options(workers)
    options["runtime_env"]["env_vars"]["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"  # as on GPUs
    return Actor("engine 0", "limr.rollout.engine:Engine", arguments, options)
