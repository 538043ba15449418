"""Run inside the trainer's image for GPUs: what a stage loads there loads, and what it compiles there compiles.

No GPU is needed: kernels are compiled for one and not run.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cuda"

import deepspeed
import ray
import torch
import transformers
import triton
import triton.language as tl
import vllm
from deepspeed.ops.op_builder import CPUAdamBuilder
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import limr.learner.learner
import limr.rollout.engine  # noqa: F401

CUDA = "/usr/local/cuda"
HOPPER = GPUTarget("cuda", 90, 32)


@triton.jit
def _add(left, right, out, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    offsets = tl.arange(0, BLOCK)
    tl.store(out + offsets, tl.load(left + offsets) + tl.load(right + offsets))


def main() -> None:
    assert torch.version.cuda, "torch was built without CUDA"
    for module in (torch, vllm, deepspeed, transformers, ray, triton):
        print(f"{module.__name__} {module.__version__}")
    signature = {"left": "*fp32", "right": "*fp32", "out": "*fp32", "BLOCK": "constexpr"}
    kernel = triton.compile(ASTSource(_add, signature, {"BLOCK": 128}), target=HOPPER)
    print(f"triton: a kernel of {len(kernel.asm['cubin'])} bytes")
    _compile_extension()
    _compile_kernel()
    CPUAdamBuilder().load(verbose=False)
    print("deepspeed: CPUAdam")


def _compile_extension() -> None:
    """As Triton compiles what launches its kernels, but for the driver's library, which a GPU node brings."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "launcher.c"
        source.write_text("#include <Python.h>\n#include <stdint.h>\n")
        include = sysconfig.get_path("include")
        subprocess.run(["gcc", "-shared", "-fPIC", f"-I{include}", source, "-o", f"{folder}/launcher.so"], check=True)
    print("gcc: an extension of Python")


def _compile_kernel() -> None:
    """As FlashInfer compiles what it has no kernel for; CUB's headers refuse a compiler of another release."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.cu"
        source.write_text("#include <cub/cub.cuh>\n__global__ void twice(float* x) { x[threadIdx.x] *= 2; }\n")
        nvcc = [f"{CUDA}/bin/nvcc", "-arch=sm_90", "-Xcompiler=-fPIC", "-c"]
        subprocess.run([*nvcc, source, "-o", f"{folder}/kernel.o"], check=True)
        link = ["g++", "-shared", f"{folder}/kernel.o", f"-L{CUDA}/lib64", "-lcudart", "-o", f"{folder}/kernel.so"]
        subprocess.run(link, check=True)
    print("nvcc: a kernel")


main()
