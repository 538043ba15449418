"""What showing metrics costs a training: the share of a step that is spent on leaving numbers and on being scraped.

    python benchmarks/bench_metrics.py [--responses N --seconds S --every S]

The shortest steps that anyone makes are the worst case: those of a small run of the arithmetic example, which is run
first unless --seconds says how long a step is. Processor time of the driver's process, which both share.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from runs import Run
from test_stage_metrics import MEASURED, stage_metrics

REPEATS = 300


def main() -> None:
    options = _options()
    step = options.seconds or _step_seconds()
    metrics = stage_metrics()
    registry = CollectorRegistry()
    registry.register(metrics)
    lengths = np.random.default_rng(1).integers(1, 4000, options.responses)
    answers = {"response_tokens": lengths, "sampler_ratio": np.ones(options.responses, np.float32)}
    told = _cost(lambda: metrics.step(MEASURED, answers))
    scraped = _cost(lambda: generate_latest(registry))
    share = told / step + scraped / options.every
    print(f"{options.responses} responses: {1e6 * told:.0f} us to tell of a step, {1e6 * scraped:.0f} us a scrape")
    print(f"  of a step of {step:.3f} s, scraped every {options.every:g} s: {share:.4%}")


def _cost(call: Callable[[], object]) -> float:
    """Median processor seconds of one call."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return statistics.median(times)


def _step_seconds() -> float:
    """Of the shortest step of a real run: `limr run` of the small experiment that the tests run."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        run.finish(run.start())
        return min(step.metrics["seconds_step"] for step in run.manifest("probe").steps)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=256, help="of a step")
    parser.add_argument("--seconds", type=float, help="of a step; default: measured")
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two scrapes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
