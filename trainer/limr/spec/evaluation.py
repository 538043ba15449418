"""`spec.evaluation`: what the base model and the trained models are compared on."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from limr.cel import Cel
from limr.spec.part import NonEmpty, Part, ShortName, Uri, refuse

# What protocol: paper sets for a benchmark that says nothing else itself.
PAPER_PROTOCOL: dict[str, dict[str, float | int]] = {
    "aime24": {"samples": 4, "temperature": 0.4, "topP": 0.95, "maxResponseTokens": 3072},
    "amc23": {"samples": 4, "temperature": 0.4, "topP": 0.95, "maxResponseTokens": 3072},
    "math500": {"samples": 1, "temperature": 0.0, "topP": 0.95, "maxResponseTokens": 3072},
}


class Benchmark(Part):
    """One set of questions; samples, temperature, topP and maxResponseTokens may come from spec.evaluation.protocol."""

    name: ShortName = Field(description="Names the benchmark in the results.")
    uri: Uri = Field(description="JSON or JSONL file with questions and answers.")
    question_field: NonEmpty | None = Field(
        None, description="Field with the question. Default: question, else prompt."
    )
    answer_field: NonEmpty = Field("answer", description="Field with the reference answer.")
    samples: int = Field(1, ge=1, description="Responses per question. Default: 1.")
    temperature: float = Field(0.0, ge=0, le=5, description="Sampling temperature. Default: 0, which is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling. Default: 1, the whole distribution.")
    max_response_tokens: int | None = Field(None, ge=1, description="Default: ppo.maxResponseTokens.")
    limit: int | None = Field(None, ge=1, description="Only the first questions.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(
                "temperature 0 (greedy) gives the same response every time; set samples: 1 or a temperature"
            )
        return self


def _sampling(field: str, default: str) -> str:
    """CEL for what a field of the benchmark `one` will be."""
    settings = ", ".join(f"'{name}': {values[field]}" for name, values in PAPER_PROTOCOL.items())
    paper = f"has(self.protocol) && one.name in {{{settings}}} ? {{{settings}}}[one.name] : {default}"
    return f"(has(one.{field}) ? one.{field} : {paper})"


class Evaluation(Part):
    protocol: Literal["paper"] | None = Field(
        None,
        description="paper: aime24, amc23 with 4 samples at 0.4, math500 greedy, top-p 0.95, 3,072 tokens.",
    )
    benchmarks: list[Benchmark] = Field(
        [],
        max_length=20,
        description="What the base model and every trained model are compared on; none: no evaluation.",
    )
    every_steps: int | None = Field(None, ge=1, description="Also evaluate during training, every so many steps.")

    cel = (
        Cel(
            "self.benchmarks.all(one, self.benchmarks.exists_one(other, other.name == one.name))",
            "two benchmarks have the same name; rename one",
            at="benchmarks",
        ),
        Cel(
            "!self.benchmarks.exists(one, one.name == 'average')",
            "the report has a column 'average' of its own; rename the benchmark",
            at="benchmarks",
        ),
        Cel(
            "!has(self.everySteps) || self.benchmarks.size() > 0",
            "everySteps has no benchmarks to evaluate; add benchmarks or remove it",
            at="everySteps",
        ),
        Cel(  # here and not in Benchmark, because the protocol decides what is not written
            f"self.benchmarks.all(one, {_sampling('samples', '1')} == 1 || {_sampling('temperature', '0.0')} > 0.0)",
            "temperature 0 (greedy) gives the same response every time; set samples: 1 or a temperature",
            at="benchmarks",
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_protocol(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("protocol") == "paper" and isinstance(data.get("benchmarks"), list):
            return {**data, "benchmarks": [_paper_benchmark(entry) for entry in data["benchmarks"]]}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) != len(names):
            problems.append("two benchmarks have the same name; rename one")
        if "average" in names:
            problems.append("the report has a column 'average' of its own; rename the benchmark")
        if self.every_steps and not self.benchmarks:
            problems.append("everySteps has no benchmarks to evaluate; add benchmarks or remove it")
        refuse(problems)
        return self


def _paper_benchmark(entry: Any) -> Any:
    """The paper's sampling settings for a benchmark it used; what the entry says itself wins (null says nothing)."""
    if not isinstance(entry, dict) or entry.get("name") not in PAPER_PROTOCOL:
        return entry
    settings = PAPER_PROTOCOL[entry["name"]]
    said = {name: value for name, value in entry.items() if value is not None or name not in settings}
    return {**settings, **said}
