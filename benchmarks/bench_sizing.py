"""The plan of memory against real learners: peak bytes planned and measured, and the error, for each shape.

    python benchmarks/bench_sizing.py [NAME …]

How it is measured: tests/learner_memory.py. Models are random, and large enough that they and not the libraries make
the difference. At most as many bytes as the shape's ranks need are used at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from learner_memory import measure, planned, step_peak
from sizing_cases import ALLOWED, CASES

MIB = 1 << 20


def main(names: Sequence[str]) -> int:
    wrong = 0
    print(f"{'shape':45}{'planned':>12}{'measured':>12}{'error':>9}")
    for case in CASES:
        if names and not any(name in case.name for name in names):
            continue
        plan, peak = planned(case).device, max(map(step_peak, measure(case)))
        error = plan / peak - 1
        wrong += abs(error) > ALLOWED
        print(f"{case.name:45}{plan / MIB:8.0f} MiB{peak / MIB:8.0f} MiB{error:+9.1%}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
