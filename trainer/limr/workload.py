"""What a Probe or Training stage works on: its prompts, tokenized and checked, and how many steps it makes."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass

import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from limr import dataset
from limr.dataset import Prompt
from limr.errors import LimrError
from limr.model_files import local_model
from limr.prompts import load_tokenizer, tokenize
from limr.sampler import PromptSampler
from limr.spec import Arm, Spec
from limr.stage import StageInput, StageKind
from limr.store import read_uri

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workload:
    prompts: list[Prompt]
    tokens: list[list[int]]  # of each prompt
    tokenizer: PreTrainedTokenizerBase
    sampler: PromptSampler
    steps: int
    seed: int

    def fingerprint_text(self, length: int) -> list[int]:
        """Up to `length` tokens of real prompts, by which engines and learner are compared."""
        text: list[int] = []
        for tokens in self.tokens:
            text += tokens
            if len(text) >= length:
                break
        return text[:length]


def load_workload(stage_input: StageInput) -> Workload:
    """Raises LimrError that names the file, rows and field of whatever cannot be used."""
    spec, stage = stage_input.experiment.spec, stage_input.stage
    every = load_prompts(spec)
    probe = PromptSampler(len(every), spec.ppo.prompts_per_step, spec.seed)
    steps, prompts, seed = spec.probe.epochs * probe.steps_per_epoch, every, spec.seed
    if stage.kind is StageKind.TRAINING:
        assert stage.arm is not None
        assert stage.seed is not None
        arm = next(arm for arm in spec.arms if arm.name == stage.arm)
        steps, seed = arm.steps or spec.training.steps or steps, stage.seed
        prompts = _subset(stage_input, arm, seed, every)
    tokenizer = load_tokenizer(local_model(spec.model.uri, spec.storage.endpoint), spec.model.revision)
    tokens = tokenize(tokenizer, prompts, spec.model.prompt, spec.ppo.max_prompt_tokens, spec.dataset.uri)
    sampler = PromptSampler(len(prompts), spec.ppo.prompts_per_step, seed)
    return Workload(prompts, tokens, tokenizer, sampler, steps, seed)


def load_prompts(spec: Spec) -> list[Prompt]:
    source = spec.dataset
    data = read_uri(source.uri, spec.storage.endpoint)
    parsed = dataset.parse(data, source.uri, source.prompt_field, source.answer_field)
    for warning in parsed.warnings:
        _log.warning("%s", warning)
    return parsed.prompts


def _subset(stage_input: StageInput, arm: Arm, seed: int, every: list[Prompt]) -> list[Prompt]:
    """The prompts that the arm's selection kept, in the dataset's order."""
    outputs = stage_input.inputs[f"select-{arm.name}"]
    output = outputs.get(f"subset-s{seed}") or outputs["subset"]
    data = read_uri(output.uri, stage_input.experiment.spec.storage.endpoint)
    kept = set(pq.read_table(io.BytesIO(data), columns=["prompt_id"])["prompt_id"].to_pylist())
    prompts = [prompt for prompt in every if prompt.prompt_id in kept]
    if len(prompts) < len(kept):
        raise LimrError(
            f"{output.uri}: {len(kept) - len(prompts)} of its {len(kept)} prompts are not in "
            f"{stage_input.experiment.spec.dataset.uri}; the dataset has changed since the selection, "
            "so start a new experiment"
        )
    return prompts
