"""The policy's weights as others read them: under the names of a checkpoint in Hugging Face form.

transformers may hold weights in another form than their checkpoint (the experts of a layer fused into one parameter,
for example). What leaves the learner goes through transformers' own conversion back. Under ZeRO-3 the weights are
gathered layer by layer, so no rank ever holds the whole model.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from limr.broadcast import BroadcastGroup
from limr.learner.zero import gathered
from limr.rollout.proof import Checksums
from limr.tensors import ChecksumTable, WeightChunk, pack

# Large enough to keep a link busy, small enough that the chunks on their way are little beside the model.
CHUNK_BYTES = {"cuda": 256 << 20, "cpu": 32 << 20}


class WeightSender:
    """Sends the weights of `lm` to engines. All ranks take part in each transfer; rank 0 sends."""

    def __init__(self, lm: PreTrainedModel, device: torch.device) -> None:
        self._lm = lm
        self._device = device
        self._group: BroadcastGroup | None = None
        self._checksums = ChecksumTable()

    def join(self, address: tuple[str, int], ranks: int, deadline_seconds: float) -> None:
        """From now on sends by broadcast, to the receivers that meet rank 0 at `address`."""
        if self._group is not None:
            self._group.close()
        self._group = BroadcastGroup(address, 0, ranks, self._device, deadline_seconds)

    def chunks(self) -> Iterator[WeightChunk]:
        """All weights. A chunk without data is being broadcast when the next one is asked for.

        The weights that follow are gathered and packed while a chunk is on its way.
        """
        self._checksums = ChecksumTable()
        for tensors, buffer in pack(checkpoint_tensors(self._lm), CHUNK_BYTES[self._device.type]):
            self._checksums.add(tensors, buffer)
            if self._group is None:
                yield WeightChunk(tensors, buffer.cpu().numpy())
            else:
                yield WeightChunk(tensors, None)  # first, for the receivers to come to the broadcast
                self._group.send(buffer)
        if self._group is not None:
            self._group.flush()

    def assist(self) -> None:
        """Gathers with rank 0 what it sends."""
        for _ in checkpoint_tensors(self._lm):
            pass

    def checksums(self) -> Checksums:
        """Of every tensor of the last transfer."""
        return self._checksums.result()


def checkpoint_tensors(lm: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight by its name in a checkpoint. A tensor is whole and valid until the next one is asked for.

    Weights that are tied come under each of their names: vLLM keeps a stale output head, with a warning only, when a
    tied lm_head.weight is left out.
    """
    state = lm.state_dict(keep_vars=True)  # with the buffers that a checkpoint holds
    for _, names in groupby(state, key=_layer):
        held = {name: state[name] for name in names}
        with torch.no_grad(), gathered(list(held.values())):
            yield from revert_weight_conversion(lm, {name: tensor.data for name, tensor in held.items()}).items()


def _layer(name: str) -> str:
    """What converts and is gathered together: all weights of a layer ("model.layers.3"), or one outside of layers."""
    parts = name.split(".")
    index = next((place for place, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[: index + 1])


def export_weights(lm: PreTrainedModel, folder: Path, writes: bool) -> None:
    """Writes `lm` to `folder` in Hugging Face form on the rank that `writes`; the others help to gather."""
    weights: dict[str, torch.Tensor] = {}
    first_names: dict[int, str] = {}  # tied weights go to the files under their first name only
    for name, tensor in lm.state_dict(keep_vars=True).items():
        if first_names.setdefault(id(tensor), name) == name:
            with gathered([tensor]):
                if writes:
                    weights[name] = tensor.data.cpu().clone()
    if writes:
        lm.save_pretrained(folder, state_dict=weights)
