"""Response tokens per second of whole GRPO steps: limr against TRL's GRPO trainer, in one run on one machine.

    python benchmarks/bench_training.py [--model DIR --prompts FILE --responses N --tokens N --steps N]

Both get the same algorithm, model, prompts, samples per prompt and longest response; both grade with a function that
costs nothing. The rate is the median over steps, the first not counted. TRL is no part of limr's own requirements:
`make bench` installs it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

SAMPLES = 8
ROOT = Path(__file__).parents[1]


def main() -> None:
    options = parse_options()
    if options.only:
        print(json.dumps({"limr": of_limr, "trl": of_trl}[options.only](options)))
        return
    rates = {}
    for name in ("trl", "limr"):  # in processes of their own, one after the other: each has the machine to itself
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=1800)
        answer = next(line for line in done.stdout.splitlines() if line.startswith('{"rate"'))  # among Ray's own lines
        rates[name] = json.loads(answer)
        print(f"{name}: {rates[name]['rate']:.0f} response tokens/s, {rates[name]['seconds']:.3f} s a step")
        for part, seconds in rates[name].get("parts", {}).items():
            print(f"  {part}: {seconds:.3f} s")
    ratio = rates["limr"]["rate"] / rates["trl"]["rate"]
    name = Path(options.model).resolve().name
    print(f"{name}, {options.responses} responses of at most {options.tokens} tokens: limr / TRL = {ratio:.2f}")


def of_limr(options: argparse.Namespace) -> dict[str, object]:
    from limr import topology
    from limr.actors import connect
    from limr.learner.group import LearnerGroup
    from limr.learner.types import LearnerSettings
    from limr.prompts import load_tokenizer
    from limr.records import Sampled, step_batch
    from limr.reward.verdict import Grade, Verdict
    from limr.rollout.group import EngineGroup
    from limr.rollout.types import EngineSettings, SamplingSettings, sample_seed
    from limr.sampler import PromptSampler
    from limr.spec import PPO, EngineOptions, LearnerPods, RolloutPods
    from limr.stopwatch import Stopwatch
    from limr.topology import DeviceKind

    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    connect()
    tokenizer = load_tokenizer(options.model, None)
    prompts = [tokenizer(text)["input_ids"] for text in _prompts(options)]
    per_step = options.responses // SAMPLES
    ppo = PPO.model_validate(
        {
            "algorithm": "grpo",
            "promptsPerStep": per_step,
            "samplesPerPrompt": SAMPLES,
            "temperature": 1.0,
            "trainBatchSize": options.responses,
            "microBatchSize": options.micro_batch,
            "klCoefficient": 0.0,
            "actorLearningRate": 1e-6,
            "zeroStage": 1,
            "packing": False,
            "gradientCheckpointing": False,
        }
    )
    longest = max(map(len, prompts)) + options.tokens
    engines = EngineGroup(
        topology.engines(RolloutPods(replicas=options.processes), DeviceKind.CPU),
        EngineSettings(options.model, None, None, "float32", longest, EngineOptions()),
        900,
    )
    learners = LearnerGroup(
        topology.learners(LearnerPods(replicas=options.processes), DeviceKind.CPU),
        LearnerSettings(
            options.model, None, "unused", None, "float32", ppo, 1, options.steps, 900, Path("limr-bench/attempt-1")
        ),
        900,
    )
    learners.start()
    sampler = PromptSampler(len(prompts), per_step, 1)
    engines.sync(*learners.publish(0, prompts[0]))
    settings = SamplingSettings(SAMPLES, 1.0, 1.0, options.tokens)
    times, rates, parts = [], [], []
    for step in range(1, options.steps + 1):
        started, clock = time.perf_counter(), Stopwatch()
        indices = sampler.indices(step)
        with clock("generation"):
            seeds = [sample_seed(1, step, place) for place in range(per_step)]
            rollouts = engines.generate([prompts[index] for index in indices], seeds, settings)
        grades = [Grade(Verdict.WRONG, float(len(text) % 7)) for text in rollouts.texts]
        sampled = Sampled(step, 1, indices, SAMPLES, rollouts, grades)
        with clock("logprobs"):
            learners.measure(step_batch(sampled, prompts))
        with clock("training"):
            learners.update()
        with clock("sync"):
            engines.sync(*learners.publish(step, prompts[0]))
        times.append(time.perf_counter() - started)
        rates.append(len(rollouts.tokens) / times[-1])
        parts.append(clock.parts())
    engines.close()
    learners.close()
    medians = {name: statistics.median(part[name] for part in parts[1:]) for name in parts[0]}
    return {"rate": statistics.median(rates[1:]), "seconds": statistics.median(times[1:]), "parts": medians}


def of_trl(options: argparse.Namespace) -> dict[str, object]:
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    tokens: list[int] = []
    times: list[float] = []

    def reward(completion_ids: list[list[int]], **_: object) -> list[float]:
        tokens.append(sum(map(len, completion_ids)))
        return [float(sum(ids) % 7) for ids in completion_ids]

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=options.micro_batch,
            gradient_accumulation_steps=options.responses // options.micro_batch,
            num_generations=SAMPLES,
            max_completion_length=options.tokens,
            temperature=1.0,
            beta=0.0,
            learning_rate=1e-6,
            max_steps=options.steps,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            model_init_kwargs={"dtype": "float32"},
        )
        dataset = Dataset.from_list([{"prompt": text} for text in _prompts(options)])
        trainer = GRPOTrainer(options.model, reward, config, dataset, callbacks=[Clock()])
        trainer.train()
    seconds = [after - before for before, after in pairwise(times)]
    rates = [count / second for count, second in zip(tokens[1:], seconds, strict=False)]
    return {"rate": statistics.median(rates), "seconds": statistics.median(seconds)}


def _prompts(options: argparse.Namespace) -> list[str]:
    text = Path(options.prompts).read_text()
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return [row["prompt"] for row in rows[: 4 * options.responses // SAMPLES]]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "examples/arithmetic/model"))
    parser.add_argument("--prompts", default=str(ROOT / "examples/arithmetic/dataset.jsonl"))
    parser.add_argument("--responses", type=int, default=512, help="per step")
    parser.add_argument("--micro-batch", type=int, default=128, help="a divisor of --responses")
    parser.add_argument("--tokens", type=int, default=16, help="longest response")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="limr's engines, and its learners")
    parser.add_argument("--only", choices=("limr", "trl"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
