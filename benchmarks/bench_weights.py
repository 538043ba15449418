"""What share of a training step the checksums of its sync take: of every tensor, at the sender and at a receiver.

    python benchmarks/bench_weights.py [the options of bench_training.py]

The step is the GRPO step that bench_training.py times, in the same run on the same machine. Sender and receivers sum
side by side where there are cores for them; here their times are added.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import bench_training
import torch
from safetensors.torch import load_file

from limr.tensors import ChecksumTable, pack

ROUNDS = 9


def main() -> None:
    options = bench_training.parse_options()
    step = bench_training.of_limr(options)
    named = [item for file in sorted(Path(options.model).glob("*.safetensors")) for item in load_file(file).items()]
    named = [(name, tensor.float()) for name, tensor in named]
    chunks = list(pack(named, 32 << 20))
    seconds = statistics.median(_checksum_seconds(chunks) for _ in range(ROUNDS))
    mebibytes = sum(len(buffer) for _, buffer in chunks) / 2**20
    share = 2 * seconds / step["seconds"]
    print(f"{len(named)} tensors, {mebibytes:.1f} MiB: checksums {1000 * seconds:.2f} ms each side")
    print(f"step {step['seconds']:.3f} s, of which sync {step['parts']['sync']:.3f} s: checksums / step = {share:.2%}")


def _checksum_seconds(chunks: list[tuple[object, torch.Tensor]]) -> float:
    started = time.perf_counter()
    table = ChecksumTable()
    for infos, buffer in chunks:
        table.add(infos, buffer)
    table.result()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
