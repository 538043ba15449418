"""Tells experiment trackers (spec.tracking) what a stage's steps measured; no tracker can fail or delay the stage.

The manifest is the truth, a tracker a copy of it. So a tracker that begins, whether in a later attempt, after an
outage or because it was added to the spec, is first told the steps that the manifest has and it has not.
"""
