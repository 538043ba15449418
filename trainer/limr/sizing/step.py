"""Bytes that move in a step, and roughly how long it takes. Every assumption is a constant here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from limr.sizing.engine import EngineMemory, Engines
from limr.sizing.gpus import Gpu
from limr.sizing.learner import WIDTH, Learners

RESPONSE_SHARE = 0.3  # of maxResponseTokens, that a response has on average
PROMPT_SHARE = 0.125  # of maxPromptTokens
COMPUTE_SHARE = 0.35  # of the GPU's peak, that learners reach
BANDWIDTH_SHARE = (
    0.3  # of the memory's bandwidth, that an engine reaches: scheduling, sampling, the last long responses
)
LINK_SHARE = 0.5  # of the link between GPUs of a host, that collectives reach
NETWORK = 10e9  # bytes a second between Pods: 100 Gb/s at 80 %


@dataclass(frozen=True)
class Traffic:
    """Bytes in one step, of one rank, and of one checkpoint."""

    gathers: int  # that ZeRO moves to and from a rank
    weights: int  # to every engine
    checkpoint: int  # training state of all ranks, to the store

    @property
    def sync_seconds(self) -> float:
        return self.weights / NETWORK


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step's parts, and of one update, the shortest part in which a stage can report."""

    generation: float
    logprobs: float
    training: float
    sync: float
    updates: int

    @property
    def total(self) -> float:
        return self.generation + self.logprobs + self.training + self.sync

    def longest_call(self, updates: int) -> tuple[str, float]:
        """What shows no progress for longest, and for how many seconds, in a step of `updates` optimizer updates."""
        calls = {"an optimizer update": self.training / updates, "a sync of the weights": self.sync}
        return max(calls.items(), key=lambda call: call[1])


def tokens_of_step(given: Learners) -> tuple[float, float]:
    """(prompt and response tokens, response tokens) of a step of all learners, as assumed."""
    ppo = given.ppo
    responses = ppo.prompts_per_step * ppo.samples_per_prompt
    response = responses * RESPONSE_SHARE * ppo.max_response_tokens
    return response + responses * PROMPT_SHARE * ppo.max_prompt_tokens, response


def traffic(given: Learners) -> Traffic:
    models = [given.model.parameters] + ([given.model.backbone] if given.has_critic else [])
    forward_only = sum(models) + (given.model.parameters if given.has_reference else 0)
    count = _micro_batches(given)
    trained, share = sum(models), (given.ranks - 1) / given.ranks
    weights, gradients = given.w * trained, WIDTH[given.gradient_dtype] * trained
    updates = given.ppo.updates_per_step
    if given.ppo.zero_stage == 3:  # gathered forward and backward, gradients reduced, for each micro-batch
        moved = given.ppo.update_epochs * count * (2 * weights + gradients) + count * given.w * forward_only
    elif given.ppo.zero_stage == 2:  # gradients for each micro-batch, weights for each update
        moved = given.ppo.update_epochs * count * gradients + updates * weights
    else:
        moved = updates * (2 * gradients + weights)
    return Traffic(int(share * moved), given.w * given.model.parameters, (12 + given.w) * sum(models))


def _micro_batches(given: Learners) -> int:
    """Of one rank in one pass over a step's responses."""
    ppo = given.ppo
    responses = (
        ppo.prompts_per_step * ppo.samples_per_prompt // ppo.train_batch_size * -(-ppo.train_batch_size // given.ranks)
    )
    return -(-responses // ppo.micro_batch_size)


def step_time(
    given: Learners, gpu: Gpu, ranks_per_pod: int, engines: Engines, engine: EngineMemory, engine_gpu: Gpu, count: int
) -> StepTime:
    """`count` engines of kind `engine_gpu` sample, learners on `gpu` train, one after the other."""
    logprobs, training = _compute_seconds(given, gpu)
    moved = traffic(given)
    speed = gpu.link * 1e9 * LINK_SHARE if ranks_per_pod == given.ranks else NETWORK
    moving = moved.gathers / speed
    whole = logprobs + training
    return StepTime(
        generation=tokens_of_step(given)[1] / (count * tokens_per_second(given, engines, engine, engine_gpu, count)),
        logprobs=max(logprobs, moving * logprobs / whole),
        training=max(training, moving * training / whole),
        sync=moved.sync_seconds,
        updates=given.ppo.updates_per_step,
    )


def _compute_seconds(given: Learners, gpu: Gpu) -> tuple[float, float]:
    """(log-probabilities and values, updates): 2 FLOPs for each weight and token forward, 4 backward.

    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1; attention as in Chowdhery et al. 2022, arXiv:2204.02311,
    appendix B.
    """
    model, ppo = given.model, given.ppo
    tokens, _ = tokens_of_step(given)
    row = RESPONSE_SHARE * ppo.max_response_tokens + PROMPT_SHARE * ppo.max_prompt_tokens
    if given.masked:  # every token of a packed row is compared with every other
        row *= 2 * ppo.micro_batch_size
    attention = 2 * model.layers * model.query_width * row  # of a causal row without mask: half of its square
    body = 2 * (model.active_parameters - model.embedding) + attention
    head = 2 * model.embedding * tokens_of_step(given)[1] / tokens
    trained = [body + head] + ([body] if given.has_critic else [])
    forward = sum(trained) + (body + head if given.has_reference else 0)
    passes = (4 if ppo.gradient_checkpointing else 3) * ppo.update_epochs
    per_second = given.ranks * gpu.tflops * 1e12 * COMPUTE_SHARE
    return tokens * forward / per_second, tokens * passes * sum(trained) / per_second


def tokens_per_second(given: Learners, engines: Engines, engine: EngineMemory, gpu: Gpu, count: int) -> float:
    """Of one engine: at each token it reads its weights and the keys and values of the sequences it samples."""
    ppo = given.ppo
    length = PROMPT_SHARE * ppo.max_prompt_tokens + RESPONSE_SHARE * ppo.max_response_tokens / 2
    responses = ppo.prompts_per_step * ppo.samples_per_prompt / count
    fitting = max(1.0, engine.cache / (engine.cache_per_token * length))
    batch = max(1.0, min(engines.max_sequences, responses, fitting))
    reading = engine.weights + batch * length * engine.cache_per_token
    computing = 2 * given.model.active_parameters * batch / engines.tensor_parallel
    seconds = max(reading / (gpu.bandwidth * 1e12 * BANDWIDTH_SHARE), computing / (gpu.tflops * 1e12 * COMPUTE_SHARE))
    return batch / seconds


def part_of_update(time: StepTime) -> float:
    """Seconds of one update."""
    return time.training / time.updates


def parts(time: StepTime) -> Iterator[tuple[str, float]]:
    yield "generation", time.generation
    yield "log-probabilities and values", time.logprobs
    yield f"{time.updates} updates", time.training
    yield "weights to the engines", time.sync
