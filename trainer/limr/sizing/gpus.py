"""What is known of the GPUs that `gpuType` names, from their makers' data sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True)
class Gpu:
    memory: int  # bytes that a process can have, which is less than the name says
    tflops: float  # of dense bfloat16 matrices, 10¹² a second
    bandwidth: float  # of its memory, 10¹² bytes a second
    link: float  # to another GPU of its host, 10⁹ bytes a second in one direction: NVLink, else PCIe


GPUS: Mapping[str, Gpu] = {
    "l4-24gb": Gpu(int(22.0 * GIB), 121, 0.30, 25),
    "a10g-24gb": Gpu(int(22.0 * GIB), 70, 0.60, 25),
    "l40s-48gb": Gpu(int(44.4 * GIB), 362, 0.86, 25),
    "a100-40gb": Gpu(int(39.4 * GIB), 312, 1.56, 300),
    "a100-80gb": Gpu(int(79.2 * GIB), 312, 2.04, 300),
    "h100-80gb": Gpu(int(79.1 * GIB), 989, 3.35, 450),
    "h200-141gb": Gpu(int(139.8 * GIB), 989, 4.80, 450),
    "b200-180gb": Gpu(int(178.3 * GIB), 2250, 8.00, 900),
}
