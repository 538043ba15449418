"""The math of PPO, GRPO and RLOO: pure functions over flat tensors, one idea per file. Formulas: docs/formulas.md.

Experience is flat: the response tokens of B sequences one after another, N = lengths.sum(), nothing padded. So no
formula needs a mask, and none can depend on how sequences were packed, padded or spread over processes.
"""
