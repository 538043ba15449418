"""What `kubectl limr compare` says of two experiments."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import kubectl_experiments as examples

from limr.kubectl.comparison import Side, comparison
from limr.kubectl.experiments import parsed
from limr.report.reading import evaluation
from limr.report.sources import Evaluation

SPEC = {"model": {"uri": "m"}, "selection": {"threshold": 0.6}, "arms": [{"name": "lim", "seeds": [1]}]}


def answered(solved: dict[str, int], questions: int = 200, benchmark: str = "math500", ids: str = "q") -> Evaluation:
    """The first `solved` questions are answered right."""
    models = [
        {
            "arm": None if name == "base" else name,
            "seed": None if name == "base" else 1,
            "benchmarks": {
                benchmark: {
                    "questions": questions,
                    "samples": 1,
                    "temperature": 0.0,
                    "correct": [[int(index < count)] for index in range(questions)],
                    "question_ids": [f"{ids}{index}" for index in range(questions)],
                }
            },
        }
        for name, count in solved.items()
    ]
    return evaluation(json.dumps({"models": models}).encode())


def side(label: str, of: Evaluation | None, prompts: set[str], **spec: Any) -> Side:
    manifest = examples.complete()
    manifest["spec"] = {**SPEC, **spec}
    return Side(parsed(manifest), label, {"lim": prompts}, of)


FIRST = side("first", answered({"base": 60, "lim": 110}), {"a", "b", "c"})
SECOND = side(
    "second",
    answered({"base": 60, "lim": 80}),
    {"b", "c", "d", "e"},
    selection={"threshold": 0.5},
    arms=[{"name": "lim", "seeds": [1, 2]}],
    limits={"deviceHours": 4},
)

EXPECTED = """\
                         A: first                B: second
phase                    Complete                Complete
device-hours             41.06                   41.06

WHAT THE SPECS DIFFER IN
selection.threshold      0.6                     0.5
arms[lim].seeds          [1]                     [1, 2]

SELECTED PROMPTS         A                       B                       in both
lim                      3                       4                       2

ACCURACY                 A                       B
base, math500            31.2% [27.1%, 35.6%]    31.2% [27.1%, 35.6%]
lim, math500             55.0% [50.1%, 59.8%]    55.0% [50.1%, 59.8%]
random, math500          49.3% [44.4%, 54.1%]    49.3% [44.4%, 54.1%]

DIFFERENCES, A minus B, paired by question, with 95 % intervals
  on math500: no difference between A/base and B/base can be claimed: anything
    from −1.4 to +1.4 points fits the answers
  on math500: A/lim is better than B/lim by 15.0 points (+9.7 to +20.0)
  With one seed each, an interval speaks of the two models that were trained,
  not of what other seeds would give."""


def test_the_whole_text() -> None:
    assert comparison(FIRST, SECOND, 80) == EXPECTED


def test_without_answers_nothing_is_claimed() -> None:
    text = comparison(FIRST, replace(SECOND, evaluation=None), 80)
    assert text.endswith("No difference can be claimed: second has no evaluation to compare answer by answer.")


def test_other_questions_are_not_compared() -> None:
    text = comparison(FIRST, replace(SECOND, evaluation=answered({"base": 60, "lim": 80}, ids="other")), 80)
    assert "  math500: not compared, A and B were asked different questions" in text
    assert text.splitlines()[-1] == "  none: no benchmark asked both of them the same questions"


def test_arms_of_other_names_are_compared_as_the_first_of_each() -> None:
    text = comparison(FIRST, replace(SECOND, evaluation=answered({"base": 60, "passrate": 80})), 80)
    assert "A/lim is better than B/passrate by 15.0 points" in text


def test_the_same_spec() -> None:
    assert "The specs differ in nothing that changes results." in comparison(FIRST, FIRST, 80)
