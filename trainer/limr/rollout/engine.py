"""One vLLM engine in a process of its own. Small on purpose: everything that can be decided elsewhere is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig
from vllm import LLM, SamplingParams
from vllm.outputs import RequestOutput

from limr.hub import load_config
from limr.model_files import local_model
from limr.rollout.llm_settings import llm_arguments
from limr.rollout.types import EngineSettings, Rollouts, SamplingSettings
from limr.tensors import WeightBundle, from_bytes
from limr.topology import DeviceKind

# It warns at every sync of each layer that has no weights of its own. Whether weights came is seen by the fingerprint.
logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)


class Engine:
    """Holds the policy's weights of one version and samples from them."""

    def __init__(self, settings: EngineSettings, kind: DeviceKind, tensor_parallel: int) -> None:
        self._endpoint = settings.endpoint
        model = local_model(settings.model, settings.endpoint)
        load_config(model, settings.revision)  # says in one sentence what vLLM would bury below a traceback
        self._llm = LLM(
            model=model,
            revision=settings.revision,
            dtype=settings.dtype,
            max_model_len=settings.max_model_len,
            seed=0,  # unused: every request brings its own
            # Log-probabilities of the distribution that is sampled from, temperature included.
            logprobs_mode="processed_logprobs",
            disable_log_stats=True,
            tensor_parallel_size=tensor_parallel,
            # In processes of this actor, which has all the GPUs: Ray would have to find a placement for them again.
            distributed_executor_backend="mp" if tensor_parallel > 1 else None,
            **llm_arguments(settings.options, kind),
        )
        self._tokenizer = self._llm.get_tokenizer()
        self._version = 0

    def load(self, bundle: WeightBundle) -> None:
        """Replaces the weights by those of the learners."""
        self._reload((name, from_bytes(data, dtype, shape)) for name, data, dtype, shape in bundle.tensors)
        self._version = bundle.version

    def load_files(self, uri: str, version: str) -> None:
        """Replaces the weights by those of another model of the same architecture, in Hugging Face form."""
        self._reload(_named_weights(Path(local_model(uri, self._endpoint, version))))

    def _reload(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self._llm.reset_prefix_cache()  # what it holds was computed by the old weights

    def score(self, tokens: list[int]) -> NDArray[np.float32]:
        """Log-probabilities of `tokens[1:]`, each given the ones before it. float32 [len(tokens) − 1]."""
        params = SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False, seed=0)
        output = self._llm.generate([{"prompt_token_ids": tokens}], params, use_tqdm=False)[0]
        assert output.prompt_logprobs is not None
        entries = zip(tokens[1:], output.prompt_logprobs[1:], strict=True)
        return np.array([entry[token].logprob for token, entry in entries if entry is not None], np.float32)

    def generate(self, prompts: Sequence[list[int]], seeds: Sequence[int], settings: SamplingSettings) -> Rollouts:
        """`settings.samples` responses to each tokenized prompt; the same seeds give the same responses."""
        params = [
            SamplingParams(
                n=settings.samples,
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_tokens,
                seed=seed,
                logprobs=0,  # of the sampled token only
                detokenize=False,  # one batch decode at the end is much cheaper
            )
            for seed in seeds
        ]
        requests: list[Any] = [{"prompt_token_ids": prompt} for prompt in prompts]
        return self._collect(self._llm.generate(requests, params, use_tqdm=False))

    def _collect(self, outputs: list[RequestOutput]) -> Rollouts:
        completions = [completion for output in outputs for completion in output.outputs]
        tokens = [list(completion.token_ids) for completion in completions]
        logprobs = [
            entry[token].logprob
            for completion in completions
            for token, entry in zip(completion.token_ids, completion.logprobs, strict=True)
        ]
        return Rollouts(
            tokens=np.array([token for response in tokens for token in response], np.int32),
            logprobs=np.array(logprobs, np.float32),
            lengths=np.array([len(response) for response in tokens], np.int32),
            truncated=np.array([completion.finish_reason == "length" for completion in completions]),
            texts=self._tokenizer.batch_decode(tokens, skip_special_tokens=True),
            version=self._version,
        )


def _named_weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights in `folder`. A tied output head is not among the files, but vLLM would keep the old one without."""
    tied = AutoConfig.from_pretrained(folder).get_text_config().tie_word_embeddings
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                tensor = weights.get_tensor(name)
                yield name, tensor
                if tied and name.endswith("embed_tokens.weight"):
                    yield "lm_head.weight", tensor
