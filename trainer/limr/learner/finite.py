"""Numbers that are not finite, found before they are saved or sent: losses, gradients, experience and weights.

Ranks see different numbers (their own micro-batches, their own shards), so each check ends in one small all-reduce:
all ranks then raise the same NonFinite together, and none is left waiting in a collective.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from limr.learner.types import NonFinite


class FiniteChecks:
    """Collects what this rank finds, by name, until `agree` compares it with the other ranks.

    All ranks must add the same names in the same order. Nothing waits for the device before `agree`.
    """

    def __init__(self, rank: int, ranks: int, device: torch.device) -> None:
        self._rank, self._ranks, self._device = rank, ranks, device
        self._flags: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor | float | None) -> None:
        """`values` in any shape; None: not measured, so nothing to check."""
        if values is None:
            return
        bad = ~torch.isfinite(torch.as_tensor(values, device=self._device).detach()).all()
        self._flags[name] = self._flags[name] | bad if name in self._flags else bad

    def agree(self, where: str) -> None:
        """Raises NonFinite on every rank when any rank has found something; `where` completes the sentence."""
        flags, self._flags = self._flags, {}
        self._agree(list(flags), list(flags.values()), where)

    def check_weights(self, modules: Mapping[str, nn.Module], where: str) -> None:
        """Raises NonFinite on every rank when any rank holds a weight that is not finite. `modules` by name."""
        names, largest = [], []
        with torch.no_grad():
            for title, module in modules.items():
                for name, parameter in module.named_parameters():
                    names.append(f"tensor {name} of the {title}")
                    largest.append(_largest(parameter))
        self._agree(names, [~torch.isfinite(value) for value in largest], where)

    def _agree(self, names: Sequence[str], flags: Sequence[Tensor], where: str) -> None:
        found = torch.zeros(self._ranks, len(names), dtype=torch.int32, device=self._device)
        found[self._rank] = torch.stack(list(flags))
        dist.all_reduce(found)
        if found.any():
            raise NonFinite(" and ".join(_sentences(names, found)) + f" {where}")


def _largest(parameter: nn.Parameter) -> Tensor:
    """The largest magnitude in what this rank holds of `parameter`; NaN and infinity come through. No copy is made."""
    held = parameter.data
    if hasattr(parameter, "ds_tensor"):
        # ZeRO-3 fills the last rank's shard up with memory that nobody has written.
        shard: Tensor = parameter.ds_tensor.data
        whole_size: int = parameter.ds_numel  # type: ignore[attr-defined]
        held = shard.flatten()[: max(0, whole_size - dist.get_rank() * shard.numel())]
    return torch.linalg.vector_norm(held, torch.inf).float() if held.numel() else held.new_zeros(()).float()


def _sentences(names: Sequence[str], found: Tensor) -> Iterator[str]:
    """The first name that each rank has found, ranks with the same finding together."""
    by_finding: dict[str, list[int]] = {}
    for rank, row in enumerate(found.tolist()):
        hits = [name for name, flag in zip(names, row, strict=True) if flag]
        if hits:
            more = f" (and {len(hits) - 1} more)" if len(hits) > 1 else ""
            by_finding.setdefault(f"{hits[0]}{more}", []).append(rank)
    for finding, ranks in by_finding.items():
        yield f"{finding} was not finite on learner{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
