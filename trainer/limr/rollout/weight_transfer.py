"""The receiving end of a weight transfer, in each of vLLM's worker processes.

It follows vLLM's weight transfer protocol: start, any number of updates, finish. Importing this module registers it, so
`WORKER_EXTENSION` must be the worker extension class of an engine that uses `BACKEND`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.mtp_validation import disable_mtp_completeness_check
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from limr.broadcast import BroadcastGroup
from limr.rollout.proof import Checksums
from limr.tensors import ChecksumTable, TensorInfo, WeightChunk, unpack

BACKEND = "limr"
WORKER_EXTENSION = "limr.rollout.weight_transfer.WorkerExtension"


@dataclass
class JoinInfo(WeightTransferInitInfo):
    """Where the workers of one engine meet the sender. Their ranks begin at `first_rank`."""

    address: tuple[str, int]
    first_rank: int
    ranks: int
    deadline_seconds: float


@dataclass
class ChunkInfo(WeightTransferUpdateInfo):
    """A WeightChunk in types that every way into a worker process carries."""

    tensors: list[tuple[str, str, list[int]]]  # name, dtype, shape
    data: bytearray | bytes | None  # None: it comes by broadcast

    @classmethod
    def of(cls, chunk: WeightChunk) -> ChunkInfo:
        tensors = [(info.name, info.dtype, list(info.shape)) for info in chunk.tensors]
        return cls(tensors, None if chunk.data is None else bytearray(chunk.data))


class WeightReceiver(WeightTransferEngine[JoinInfo, ChunkInfo]):
    """Takes the checksum of every tensor as it arrives, then hands it to the model's own loader."""

    init_info_cls = JoinInfo
    update_info_cls = ChunkInfo

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.checksums = ChecksumTable()
        self._group: BroadcastGroup | None = None

    def init_transfer_engine(self, init_info: JoinInfo) -> None:
        self.shutdown()
        parallel = self.parallel_config
        rank = init_info.first_rank + parallel.data_parallel_index * parallel.world_size + parallel.rank
        host, port = init_info.address
        self._group = BroadcastGroup((host, port), rank, init_info.ranks, self.device, init_info.deadline_seconds)

    def start_weight_update(self) -> None:
        self.checksums = ChecksumTable()
        if self.device.type == "cpu":
            _forget_expert_kernels(self.model)
        # It warns of each layer that has no weights of its own; whether weights came is seen by the fingerprint. Here,
        # because vLLM sets up its loggers anew when an engine starts.
        logging.getLogger(initialize_layerwise_reload.__module__).setLevel(logging.ERROR)
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type == "cuda":  # vLLM's own does so without a condition, which fails where there is no GPU
            torch.cuda.synchronize(self.device)

    def receive_weights(self, update_info: ChunkInfo) -> None:
        tensors = [TensorInfo(name, dtype, tuple(shape)) for name, dtype, shape in update_info.tensors]
        buffer = self._buffer(tensors, update_info.data)
        self.checksums.add(tensors, buffer)
        with disable_mtp_completeness_check():  # a chunk holds some of the weights only
            self.model.load_weights(unpack(tensors, buffer))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        if self._group is not None:
            self._group.close()
            self._group = None

    def _buffer(self, tensors: list[TensorInfo], data: bytearray | bytes | None) -> torch.Tensor:
        if data is not None:
            # torch wants to write to what it views: bytes, as another process gets them, are copied.
            return torch.frombuffer(data if isinstance(data, bytearray) else bytearray(data), dtype=torch.uint8).to(
                self.device
            )
        if self._group is None:
            raise RuntimeError("a chunk without data came before this worker joined a broadcast group")
        return self._group.receive(sum(info.padded_bytes for info in tensors))


def _forget_expert_kernels(model: torch.nn.Module) -> None:
    """Has the experts' weights packed for the CPU's kernel again after an update.

    vLLM 0.32 packs them only when it builds the kernel, so after an update the kernel would read weights that are not
    packed (UnquantizedFusedMoEMethod._setup_kernel).
    """
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


class WorkerExtension:
    """Methods that vLLM's worker gets besides its own."""

    weight_transfer_engine: WeightReceiver

    def received_checksums(self) -> Checksums:
        """Of every tensor of the last transfer, as this worker got it."""
        return self.weight_transfer_engine.checksums.result()


WeightTransferEngineFactory.register_engine(BACKEND, WeightReceiver)
