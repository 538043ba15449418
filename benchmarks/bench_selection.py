"""Selection from limr's own trajectories, as long as a bare pyarrow scan of the three columns that it needs.

    python benchmarks/bench_selection.py [--small] [--cache FOLDER]

Two probes of the paper's shape, 21 epochs × 8 samples: the paper's own with 8,523 prompts (1.38 million rollouts), and
one of 600,000 (99 million; --small leaves it out: 2 GB, written once). Each time is the best of `ROUNDS` in a process
of its own, after its imports; memory is the peak above the imports. "lim" is reading, scoring and picking; "trust" is
what `limr select` does besides, the subsets of the last epochs above all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from limr.selection import registry
from limr.selection.pick import Rule, pick
from limr.selection.run import select
from limr.selection.sources import Trajectories, read_trajectories
from limr.selection.strategy import Request
from limr.spec import Reading, Strategy
from limr.store import digest, layout
from limr.store.local import LocalStore
from limr.store.manifest import Manifest, StepRecord
from limr.store.trajectories import TRAJECTORIES, encode

ROUNDS = 5
EPOCHS, SAMPLES = 21, 8
PROBES = {"1.38 M rollouts": (8_523, 1_024), "99 M rollouts": (600_000, 16_384)}  # prompts, prompts per step
COLUMNS = ["prompt_id", "epoch", "reward"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only the smaller probe")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "limr-bench-selection")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(*options.measure)))
        return
    for name, (prompts, per_step) in list(PROBES.items())[: 1 if options.small else None]:
        report(name, probe(options.cache, prompts, per_step))


def report(name: str, folder: Path) -> None:
    scan, lim, trust = (in_own_process(what, folder) for what in ("scan", "lim", "trust"))
    ratio = lim["seconds"] / scan["seconds"]
    print(f"selection, {name}, bare scan: {scan['seconds']:.3f} s ({scan['megabytes']:.0f} MB)")
    print(f"selection, {name}, lim: {lim['seconds']:.3f} s (ratio {ratio:.2f} to the scan)")
    print(f"selection, {name}, lim, CPU: {lim['cpu']:.2f} s (ratio {lim['cpu'] / scan['cpu']:.2f} to the scan)")
    print(f"selection, {name}, lim, peak memory: {lim['megabytes']:.0f} MB above the imports")
    more = trust["seconds"] - lim["seconds"]
    print(f"selection, {name}, trust: {more:.3f} s more (ratio {more / lim['seconds']:.2f} to lim)", flush=True)


def in_own_process(what: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", what, str(folder)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def measured(what: str, folder: str) -> dict[str, float]:
    """Memory is that of the first round, the only one that begins as fresh as a command does."""
    run: Callable[[str], None] = {"scan": scan, "lim": lim, "trust": trust}[what]
    before, seconds, cpu, peaks = peak(), [], [], []
    for _ in range(ROUNDS):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        run(folder)
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
        peaks.append(peak() - before)
    return {"seconds": min(seconds), "cpu": min(cpu), "megabytes": peaks[0]}


def peak() -> float:
    """MB. Not getrusage's: that one begins at what the parent process had."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def scan(folder: str) -> None:
    """With the prompt ids dictionary-encoded, which is the fastest way to read them."""
    files = sorted(map(str, Path(folder).rglob("*.parquet")))
    form = ds.ParquetFileFormat(dictionary_columns=["prompt_id"])
    assert sum(batch.num_rows for batch in ds.dataset(files, format=form).to_batches(columns=COLUMNS)) > 0


def lim(folder: str) -> None:
    matrix = read(folder).matrix
    scores = registry.find("lim").score(Request(matrix.prompt_ids, matrix, {}, Reading.CODE, 1))
    assert pick(scores, Rule(0.6)).any()


def trust(folder: str) -> None:
    assert select(read(folder), Strategy()).summary["selected"] > 0


def read(folder: str) -> Trajectories:
    return read_trajectories(folder)


def probe(cache: Path, prompts: int, per_step: int) -> Path:
    """A finished probe as the trainer leaves it, made once."""
    folder = cache / f"{prompts}-{per_step}"
    store = LocalStore(folder)
    if not (folder / "probe" / layout.MANIFEST).exists():
        steps = [write_step(store, *step) for step in training(prompts, per_step)]
        manifest = Manifest(stage="probe", attempt=1, writer="bench", steps=tuple(steps), finished=True)
        store.put(layout.in_stage("probe", layout.MANIFEST), manifest.to_json().encode())
    return folder / "probe"


def training(prompts: int, per_step: int) -> Any:
    """(step, epoch, table) of a model that learns; what does not fill a step waits for the next epoch."""
    rng = np.random.default_rng(0)
    ids = pa.array([hashlib.sha256(str(number).encode()).hexdigest()[:16] for number in range(prompts)])
    start = rng.beta(0.6, 1.2, prompts)
    step = 0
    for epoch in range(1, EPOCHS + 1):
        order = rng.permutation(prompts)
        for begin in range(0, prompts - per_step + 1, per_step):
            step += 1
            chosen = order[begin : begin + per_step].repeat(SAMPLES)
            chance = 1 - (1 - start[chosen]) * 0.9**epoch
            yield step, epoch, rollouts(ids.take(pa.array(chosen)), rng.random(len(chosen)) < chance, step, epoch, rng)


def rollouts(ids: Any, correct: Any, step: int, epoch: int, rng: np.random.Generator) -> pa.Table:
    count = len(correct)
    columns = {
        "prompt_id": ids,
        "epoch": np.full(count, epoch),
        "step": np.full(count, step),
        "sample": np.tile(np.arange(SAMPLES), count // SAMPLES),
        "reward": np.where(correct, 1.0, -0.5),
        "verdict": pa.array(np.where(correct, "correct", "wrong")),
        "response_tokens": rng.integers(100, 3072, count),
        "truncated": np.zeros(count, np.bool_),
        "policy_version": np.full(count, step),
        "attempt": np.ones(count, np.int32),
        "mean_logprob": rng.normal(-0.4, 0.1, count),
        "ratio_mean": rng.normal(1, 0.01, count),
        "ratio_max": rng.normal(2, 0.1, count),
    }
    return pa.table({name: pa.array(columns[name]).cast(TRAJECTORIES.field(name).type) for name in TRAJECTORIES.names})


def write_step(store: LocalStore, step: int, epoch: int, table: pa.Table) -> StepRecord:
    data = encode(table)
    path = layout.trajectories(1, epoch, step)
    target = Path(store.uri) / "probe" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)  # the store would wait for the disk each time
    return StepRecord(step=step, epoch=epoch, attempt=1, path=path, rows=table.num_rows, digest=digest.of_bytes(data))


if __name__ == "__main__":
    main()
