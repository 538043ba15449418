"""Reading an experiment's file so that a person learns about every mistake at once."""

from limr.validate.load import load, load_for_run
from limr.validate.mistake import InvalidSpec, Mistake
from limr.validate.paths import resolved

__all__ = ["InvalidSpec", "Mistake", "load", "load_for_run", "resolved"]
