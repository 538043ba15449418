"""One vLLM engine in a process of its own. Small on purpose: everything that can be decided elsewhere is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig
from vllm import LLM, SamplingParams
from vllm.config import WeightTransferConfig
from vllm.outputs import RequestOutput

from limr.actors import Work
from limr.hub import load_config
from limr.model_files import local_model
from limr.rollout.llm_settings import llm_arguments
from limr.rollout.proof import Checksums, Receipt
from limr.rollout.types import EngineSettings, Rollouts, SamplingSettings
from limr.rollout.weight_transfer import BACKEND, WORKER_EXTENSION, ChunkInfo, JoinInfo
from limr.tensors import ChecksumTable, WeightChunk, pack
from limr.topology import DeviceKind

FILE_CHUNK_BYTES = 256 << 20  # of a model's files, loaded at once


class Engine:
    """Holds the policy's weights of one version and samples from them."""

    def __init__(self, settings: EngineSettings, kind: DeviceKind, tensor_parallel: int) -> None:
        self._endpoint = settings.endpoint
        self.work = Work()  # responses of the call of `generate` in progress; read by another thread
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
            weight_transfer_config=WeightTransferConfig(backend=BACKEND),
            worker_extension_cls=WORKER_EXTENSION,
            tensor_parallel_size=tensor_parallel,
            # In processes of this actor, which has all the GPUs: Ray would have to find a placement for them again.
            distributed_executor_backend="mp" if tensor_parallel > 1 else None,
            **llm_arguments(settings.options, kind),
        )
        self._tokenizer = self._llm.get_tokenizer()
        self._version = 0

    def ready(self) -> None:
        """Answers once the engine has started."""

    # New weights: `start_update`, any number of chunks, `finish_update`. Every worker process gets every chunk.

    def workers(self) -> int:
        """Processes that hold a part of the model."""
        return int(self._llm.llm_engine.vllm_config.parallel_config.world_size_across_dp)

    def join(self, address: tuple[str, int], first_rank: int, ranks: int, deadline_seconds: float) -> None:
        """Lets the worker processes meet at `address` the learner that will broadcast, as ranks from `first_rank`."""
        info = JoinInfo(address, first_rank, ranks, deadline_seconds)
        self._llm.collective_rpc("init_weight_transfer_engine", kwargs={"init_info": asdict(info)})

    def start_update(self) -> None:
        self._llm.collective_rpc("start_weight_update")

    def update(self, chunk: WeightChunk) -> None:
        """Loads some of the new weights. The model is of no use until all have come."""
        self._llm.collective_rpc("update_weights", kwargs={"update_info": vars(ChunkInfo.of(chunk))})

    def finish_update(self, version: int) -> list[Checksums]:
        """Puts the new weights to use. Returns the checksums of what each worker process got."""
        self._llm.collective_rpc("finish_weight_update")
        self._llm.reset_prefix_cache()  # what it holds was computed by the old weights
        self._version = version
        received: list[Checksums] = self._llm.collective_rpc("received_checksums")
        return received

    def load_files(self, uri: str, version: str) -> Receipt:
        """Replaces the weights by those of another model of the same architecture, in Hugging Face form."""
        sent = ChecksumTable()
        self.start_update()
        for tensors, buffer in pack(_named_weights(Path(local_model(uri, self._endpoint, version))), FILE_CHUNK_BYTES):
            sent.add(tensors, buffer)
            self.update(WeightChunk(tensors, buffer.numpy()))
        return Receipt(sent.result(), self.finish_update(self._version))

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
        return self._collect(self._finished(requests, params, settings.samples))

    def _finished(self, requests: list[Any], params: list[SamplingParams], samples: int) -> list[RequestOutput]:
        """As LLM.generate, which tells nothing until its last response is done."""
        self.work = Work(0, len(requests) * samples)
        self._llm.enqueue(requests, params, use_tqdm=False)
        outputs: list[RequestOutput] = []
        while self._llm.llm_engine.has_unfinished_requests():
            some = self._llm.llm_engine.step()
            outputs += (output for output in some if isinstance(output, RequestOutput) and output.finished)
            self.work = Work(len(outputs) * samples, len(requests) * samples)
        self.work = Work()
        return sorted(outputs, key=lambda output: int(output.request_id))  # the order in which they were asked for

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
