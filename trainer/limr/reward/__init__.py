"""Grading: one grader for training and evaluation."""

from limr.reward.pool import Grader
from limr.reward.verdict import Grade, GradeRequest, Verdict

__all__ = ["Grade", "GradeRequest", "Grader", "Verdict"]
