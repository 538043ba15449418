"""What grading is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    CORRECT = "correct"
    WRONG = "wrong"  # well-formed, and not shown equal to the reference
    FORMAT = "format"  # breaks a format rule; the answer was not looked at
    TIMEOUT = "timeout"  # comparing took longer than spec.Reward.timeout_seconds
    ERROR = "error"  # the grading process died, or the reward function raised


@dataclass(frozen=True, slots=True)
class GradeRequest:
    response: str  # what the model wrote, without prompt and special tokens
    answer: str  # the reference
    truncated: bool = False  # the response was cut before its end token


@dataclass(frozen=True, slots=True)
class Grade:
    verdict: Verdict
    reward: float
    detail: str = ""  # why, for format, timeout and error
