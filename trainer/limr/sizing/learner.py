"""Memory of one rank of the learners: what stands through a step, and the part of the step that needs most.

ZeRO's terms follow DeepSpeed 0.19 (runtime/zero/stage_1_and_2.py, stage3.py) at its defaults, which limr keeps. The
same formulas hold on a CPU; there nothing is reserved that is not used, and optimizer state is where it would be
offloaded to.
"""

from __future__ import annotations

from dataclasses import dataclass

from limr.sizing import activations
from limr.sizing.activations import MicroBatch
from limr.sizing.architecture import Architecture
from limr.sizing.gpus import GIB
from limr.spec import PPO, Algorithm

WIDTH = {"bfloat16": 2, "float32": 4}
BUCKET = 500_000_000  # elements that ZeRO reduces at a time, and reserves on a GPU
LIVE = 1_000_000_000  # elements that ZeRO-3 keeps gathered when they are soon used again
PREFETCH = 50_000_000
SUB_GROUP = 1_000_000_000  # elements that ZeRO-3 steps at a time
GPU_RUNTIME = int(1.5 * GIB)  # CUDA context, NCCL's buffers, cuBLAS's workspaces
FRAGMENTATION = 0.05  # of a GPU's tensors, that the caching allocator loses
PROCESS = 3 * GIB  # host memory of a process with torch, DeepSpeed and transformers on a GPU


@dataclass(frozen=True)
class Learners:
    """What decides on a rank's memory."""

    model: Architecture
    ppo: PPO
    ranks: int
    dtype: str  # of weights and activations
    gradient_dtype: str  # in which gradients are added up
    offload: bool
    on_gpu: bool

    @property
    def w(self) -> int:
        return WIDTH[self.dtype]

    @property
    def has_critic(self) -> bool:
        return self.ppo.algorithm is Algorithm.PPO

    @property
    def has_reference(self) -> bool:
        return self.ppo.kl_coefficient > 0

    @property
    def offloads(self) -> bool:
        return self.offload and self.on_gpu

    @property
    def micro_batch(self) -> MicroBatch:
        """The largest there can be: every prompt and response as long as allowed."""
        ppo = self.ppo
        responses = min(ppo.micro_batch_size, -(-ppo.train_batch_size // self.ranks))
        row = ppo.max_prompt_tokens + ppo.max_response_tokens
        tokens = responses * row
        return MicroBatch(tokens, responses * ppo.max_response_tokens, tokens if ppo.packing else row)

    @property
    def masked(self) -> bool:
        """Packed sequences are kept apart by a mask over the whole row."""
        return self.ppo.packing and self.ppo.micro_batch_size > 1


@dataclass(frozen=True)
class Term:
    name: str
    device: int  # bytes on the GPU, or in the process where there is none
    host: int = 0  # bytes in the host's memory beside a GPU


@dataclass(frozen=True)
class RankMemory:
    standing: tuple[Term, ...]
    moments: tuple[Term, ...]  # parts of a step, of which only one is at a time

    @property
    def worst(self) -> Term:
        return max(self.moments, key=lambda moment: moment.device)

    @property
    def device(self) -> int:
        return sum(term.device for term in self.standing) + self.worst.device

    @property
    def host(self) -> int:
        """Of a rank's process beside a GPU; what all processes of a Pod share comes on top."""
        return sum(term.host for term in self.standing)


def rank_memory(given: Learners) -> RankMemory:
    standing = [*_models(given), *_optimizers(given), *_buffers(given)]
    moments = [*_moments("actor", given.model.parameters, given), _publishing(given)]
    if given.has_critic:
        moments += _moments("critic", given.model.backbone, given)
    if given.on_gpu:
        tensors = sum(term.device for term in standing) + max(moment.device for moment in moments)
        standing.append(Term("CUDA, NCCL and fragmentation", GPU_RUNTIME + int(FRAGMENTATION * tensors)))
        standing.append(Term("processes", 0, PROCESS))
    return RankMemory(tuple(standing), tuple(moments))


def _trained(given: Learners) -> list[tuple[str, int]]:
    critic = [("critic", given.model.backbone)] if given.has_critic else []
    return [("actor", given.model.parameters), *critic]


def _share(given: Learners, parameters: int) -> int:
    return -(-parameters // given.ranks)


def _models(given: Learners) -> list[Term]:
    models = _trained(given) + ([("reference", given.model.parameters)] if given.has_reference else [])
    sharded = given.ppo.zero_stage == 3
    return [
        Term(f"{name}'s weights", given.w * (_share(given, parameters) if sharded else parameters))
        for name, parameters in models
    ]


def _optimizers(given: Learners) -> list[Term]:
    """Float32 weights and Adam's two moments; the gradients that are added up over micro-batches, where they stay."""
    terms = []
    for name, parameters in _trained(given):
        share = _share(given, parameters)
        if given.offloads:  # with a page-locked gradient in float32, and what stages 1 and 2 copy back from
            host = 4 * _page_locked(share, 4) + _page_locked(share, WIDTH[given.gradient_dtype])
            terms.append(Term(f"{name}'s optimizer", 0, host))
            continue
        terms.append(Term(f"{name}'s optimizer", 12 * share))
        if given.ppo.zero_stage == 3:
            terms.append(Term(f"{name}'s gradients", WIDTH[given.gradient_dtype] * share))
    return terms


def _page_locked(elements: int, width: int) -> int:
    """Bytes that torch locks: it rounds each piece up to a power of two."""
    whole, rest = divmod(elements, SUB_GROUP)
    return whole * _power_of_two(SUB_GROUP * width) + (_power_of_two(rest * width) if rest else 0)


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _buffers(given: Learners) -> list[Term]:
    """ZeRO-3 holds its buckets for good, one for each trained model."""
    if given.ppo.zero_stage != 3:
        return []
    return [Term("gradient buckets", sum(_bucket(given, parameters) for _, parameters in _trained(given)))]


def _bucket(given: Learners, parameters: int) -> int:
    return given.w * (BUCKET if given.on_gpu else min(BUCKET, parameters))


def _moments(name: str, parameters: int, given: Learners) -> list[Term]:
    gathered, gradients = _gathered(given, parameters), _gradients(given, parameters)
    step = Term(f"{name}: optimizer step", _step(given, parameters))
    return [
        *(Term(f"{name}: {what}", gathered + gradients + size) for what, size in _passes(name, given)),
        step,
    ]


def _passes(name: str, given: Learners) -> list[tuple[str, int]]:
    """Bytes of activations at the two places of a backward pass where most are alive."""
    model, micro, w, masked = given.model, given.micro_batch, given.w, given.masked
    checkpointing = given.ppo.gradient_checkpointing
    kept = activations.kept(model, micro, w, checkpointing, masked) + activations.attention_mask(micro, masked)
    passes = [("backward pass of a layer", kept + activations.layer_again(model, micro, w, checkpointing, masked))]
    if name == "actor":
        one = activations.logits(model, micro, w)
        head = max(one + activations.logprob_chunks(model, micro), w * model.embedding)
        passes.append(("backward pass of the logits", kept + one + head))
    return passes


def _gathered(given: Learners, parameters: int) -> int:
    """Whole weights that ZeRO-3 has at hand; a single rank has them anyway."""
    if given.ppo.zero_stage != 3 or given.ranks == 1:
        return 0
    return given.w * min(parameters, LIVE + PREFETCH + given.model.largest_layer)


def _gradients(given: Learners, parameters: int) -> int:
    """Gradients that are not yet reduced, and (stages 1 and 2) those that wait for the step."""
    g, stage = WIDTH[given.gradient_dtype], given.ppo.zero_stage
    if stage == 3:
        return given.w * given.model.largest_tensor
    if stage == 2:
        return _bucket(given, parameters) + (0 if given.offloads else g * _share(given, parameters))
    return g * parameters


def _step(given: Learners, parameters: int) -> int:
    """A float32 gradient beside the one it is made of, then two temporaries of Adam."""
    if given.offloads:
        return 0
    g, share, stage = WIDTH[given.gradient_dtype], _share(given, parameters), given.ppo.zero_stage
    if stage == 3:
        return 12 * min(share, SUB_GROUP)
    return 4 * share + max(g * (parameters if stage == 1 else share), 8 * share)


def _publishing(given: Learners) -> Term:
    """The policy on its way to the engines, on rank 0: tensor by tensor from a GPU, all of it on a CPU."""
    if not given.on_gpu:
        return Term("weights for the engines", given.w * given.model.parameters)
    return Term("weights for the engines", given.w * given.model.largest_tensor)
