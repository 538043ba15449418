"""The Preflight stage: reads everything that the experiment starts from, on CPUs, before any device is claimed.

What a later stage would refuse because of its input is refused here, with the same sentence: a tokenizer that cannot be
loaded, prompts that are too long, a benchmark without answers, a reward function that cannot be imported, a model that
does not fit.
"""

from __future__ import annotations

import json

from limr.devices import device_kind
from limr.evaluate import load_questions
from limr.model_files import local_model
from limr.prompts import load_tokenizer, tokenize
from limr.reward.pool import Grader
from limr.sizing.stage import plan_stage
from limr.stage import Output, StageInput
from limr.store import put_output
from limr.store.base import Store
from limr.store.layout import SUMMARY, in_stage
from limr.workload import load_prompts


def run_stage(stage_input: StageInput, store: Store) -> dict[str, Output]:
    """Output "summary": how much there is to train on and to evaluate. Raises LimrError."""
    spec = stage_input.experiment.spec
    plan_stage(spec, device_kind(spec.cluster))
    with Grader(spec.reward.model_copy(update={"workers": 1})) as grader:
        prompts = load_prompts(spec)
        tokenizer = load_tokenizer(local_model(spec.model.uri, spec.storage.endpoint), spec.model.revision)
        tokens = tokenize(tokenizer, prompts, spec.model.prompt, spec.ppo.max_prompt_tokens, spec.dataset.uri)
        questions = load_questions(spec, tokenizer)
        grader.wait_ready()
    summary = {
        "prompts": len(prompts),
        "longestPromptTokens": max(map(len, tokens)),
        "questions": {one.benchmark.name: len(one.prompts) for one in questions},
    }
    data = json.dumps(summary, indent=1).encode()
    return {"summary": put_output(store, in_stage(stage_input.stage.name, SUMMARY), data)}
