"""How much memory and time an experiment needs, from its spec and its model's config.json, before GPUs are claimed.

Pure, and free of torch: `limr plan`, `limr validate` and the driver of a stage use it. Formulas: docs/sizing.md.
"""
