"""An engine whose model is spread over two worker processes of vLLM, to be started by an Actor."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from limr.actors import Actor
from limr.devices import engine_options
from limr.rollout import engine
from limr.rollout.types import EngineSettings
from limr.spec import Role


def make(settings: EngineSettings) -> engine.Engine:
    engine.LLM = partial(engine.LLM, tensor_parallel_size=2)
    return engine.Engine(settings)


def parallel_engine(settings: EngineSettings) -> Actor:
    options = engine_options(Role(replicas=1))
    variables = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "PYTHONPATH": str(Path(__file__).parent)}
    options["runtime_env"]["env_vars"] |= variables
    return Actor("engine 0", "parallel_engine:make", [settings], options)
