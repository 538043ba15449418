"""Reading an experiment's file so that a person learns about every mistake at once."""

from limr.validate.load import load, load_for_run
from limr.validate.manifest import from_manifest, problems
from limr.validate.mistake import InvalidSpec, Mistake
from limr.validate.paths import resolved

__all__ = ["InvalidSpec", "Mistake", "from_manifest", "load", "load_for_run", "problems", "resolved"]
