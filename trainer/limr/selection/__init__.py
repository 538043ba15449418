"""Which prompts are worth training on: their accuracy per epoch, strategies that score it, and how far to trust it.

Start at `run.py`; a strategy is one file (`lim.py`); docs/selection.md and docs/strategies.md say the rest.
"""
