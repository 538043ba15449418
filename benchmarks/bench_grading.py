"""Verdicts per second: the grader against Math-Verify called in one process, on answers of the MATH dataset.

    python benchmarks/bench_grading.py [--data FILE] [--prompts 300] [--epochs 6] [--workers 2]

Three responses are made for each reference answer: the same text, an equivalent form, and another prompt's answer.
*distinct* grades each once. *needs Math-Verify* are those of distinct that are decided neither by their text nor as
plain numbers. *repeated* is a training: in each of --epochs epochs (the paper has 21), 8 samples of each prompt,
drawn from its three. Both sides are warm; the baseline is verify(parse(reference), parse(answer)) with Math-Verify's
defaults, and every verdict is compared with it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from math_verify import parse, verify

from limr.reward.math import quick_equal
from limr.reward.pool import Grader
from limr.reward.verdict import Grade, GradeRequest, Verdict
from limr.spec import Reward

T = TypeVar("T")

SAMPLES = 8  # of a prompt, in one epoch
REASONING = "Let us compute this step by step, carefully and with every detail. "  # no repetition: once per response


class Pair(NamedTuple):
    answer: str
    reference: str

    def request(self) -> GradeRequest:
        return GradeRequest(f"{REASONING}The answer is $\\boxed{{{self.answer}}}$.", self.reference)


def main() -> None:
    options = arguments()
    references = [str(row["answer"]) for row in json.loads(options.data.read_text()) if row["answer"]]
    prompts = made_from(random.Random(options.seed).sample(references, options.prompts))
    distinct = list(dict.fromkeys(pair for triple in prompts for pair in triple))
    rng = random.Random(options.seed)
    epochs = [[rng.choice(triple) for triple in prompts for _ in range(SAMPLES)] for _ in range(options.epochs)]
    workloads = {
        "distinct": [distinct],
        "needs Math-Verify": [[pair for pair in distinct if quick_equal(*pair) is None]],
        "repeated": epochs,
    }
    for pair in distinct[:100]:
        math_verify(pair)  # warm up
    print(f"{options.prompts} prompts, {options.workers} grading processes")
    known: dict[Pair, bool] = {}
    for name, batches in workloads.items():
        print(compare(name, batches, options.workers, known))
    for line in overheads(distinct, options.workers):
        print(line)
    print(differences(distinct, options.workers, known))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "math.8k.json"
    parser.add_argument("--data", type=Path, default=shared, help="JSON array of rows with an answer")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def made_from(references: list[str]) -> list[tuple[Pair, Pair, Pair]]:
    others = references[1:] + references[:1]
    return [
        (Pair(reference, reference), Pair(equivalent(reference), reference), Pair(other, reference))
        for reference, other in zip(references, others, strict=True)
    ]


def equivalent(answer: str) -> str:
    """The same value, written as a model might."""
    if re.fullmatch(r"-?\d+", answer):
        return f"{answer}.0"
    rewritten = answer.replace("\\frac", "\\dfrac").replace("(", "\\left(").replace(")", "\\right)")
    return rewritten if rewritten != answer else f"\\displaystyle {answer}"


def compare(name: str, batches: list[list[Pair]], workers: int, known: dict[Pair, bool]) -> str:
    pairs = [pair for batch in batches for pair in batch]
    serial_seconds, verdicts = timed(lambda: [math_verify(pair) for pair in pairs])
    known.update(zip(pairs, verdicts, strict=True))
    requests = [[pair.request() for pair in batch] for batch in batches]
    with Grader(Reward(workers=workers)) as grader:
        warm_up(grader, workers)
        grader_seconds, _ = timed(lambda: [grader.grade(batch) for batch in requests])
    return (
        f"{name:20} {len(pairs):6} rows   Math-Verify {len(pairs) / serial_seconds:8.0f}/s   "
        f"grader {len(pairs) / grader_seconds:8.0f}/s   ratio {serial_seconds / grader_seconds:6.1f}"
    )


def math_verify(pair: Pair) -> bool:
    return bool(verify(parse(f"${pair.reference}$"), parse(f"${pair.answer}$")))


def warm_up(grader: Grader, workers: int) -> None:
    """Until every process has imported and parsed; none of it is in the workloads."""
    grader.grade([Pair(f"z+{n}", f"{n}+z").request() for n in range(16 * workers)])


def overheads(pairs: list[Pair], workers: int) -> list[str]:
    """Processor time of rows that need no process."""
    reasoning = " ".join(map(str, range(2_400)))  # 11 kB, about 3,000 tokens
    equal = [Pair(pair.reference, pair.reference).request() for pair in pairs]
    workloads = {
        "cached": [pair.request() for pair in pairs],
        "equal text": equal,
        "equal, 11 kB response": [GradeRequest(reasoning + row.response, row.answer) for row in equal],
    }
    lines = []
    with Grader(Reward(workers=workers)) as grader:
        grader.grade(workloads["cached"])
        for name, requests in workloads.items():
            start = time.process_time()
            grader.grade(requests)
            lines.append(f"{name:21} {(time.process_time() - start) / len(requests) * 1e6:6.1f} µs a row")
    return lines


def differences(pairs: list[Pair], workers: int, known: dict[Pair, bool]) -> str:
    with Grader(Reward(workers=workers)) as grader:
        grades = grader.grade([pair.request() for pair in pairs])
    lines = [
        f"  answer {pair.answer!r}, reference {pair.reference!r}: {grade.verdict}; Math-Verify: {known[pair]}"
        for pair, grade in zip(pairs, grades, strict=True)
        if not agrees(grade, known[pair])
    ]
    return "\n".join([f"{len(lines)} of {len(pairs)} verdicts differ from Math-Verify's", *lines])


def agrees(grade: Grade, equal: bool) -> bool:
    return grade.verdict is (Verdict.CORRECT if equal else Verdict.WRONG)


def timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
