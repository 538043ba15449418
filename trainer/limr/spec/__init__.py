"""The `LIMRExperiment` resource: the one source of the CRD schema, the chart's docs and the command line's checks.

Defaults are the LIMR paper's values (Less is More for RL Scaling, 2025). Every field has a description, because
`kubectl explain` and the docs are made from here. Rules that join several fields of one part live in that part's
validator, rules that join several parts in `Spec`; each message says what to write instead and names every field it
joins (limr.validate relies on that: it does not repeat a rule whose fields are already known to be wrong).
`cel` beside a validator says the same for the API server; a test compares the two on generated specs.
"""

from __future__ import annotations

from limr.spec.cluster import Cluster, Schedule
from limr.spec.data import Dataset, Storage
from limr.spec.evaluation import PAPER_PROTOCOL, Benchmark, Evaluation
from limr.spec.experiment import Experiment, Metadata, Spec
from limr.spec.guards import AccuracyCollapse, Action, GradNormBound, Guard, Guards, KLBound, RewardCollapse
from limr.spec.limits import Limits
from limr.spec.model import Model, PromptFormat
from limr.spec.part import Part
from limr.spec.ppo import PPO, Algorithm
from limr.spec.selection import Arm, Reading, Selection, Strategy, SubsetSize
from limr.spec.tracker import Tracker, TrackerKind
from limr.spec.training import Checkpoint, Probe, Reward, Training
from limr.spec.volumes import ModelCache, Scratch
from limr.spec.workers import MAX_SEQUENCES, OBJECT_STORE_SHARE, EngineOptions, LearnerPods, Place, Role, RolloutPods

__all__ = [
    "MAX_SEQUENCES",
    "OBJECT_STORE_SHARE",
    "PAPER_PROTOCOL",
    "PPO",
    "AccuracyCollapse",
    "Action",
    "Algorithm",
    "Arm",
    "Benchmark",
    "Checkpoint",
    "Cluster",
    "Dataset",
    "EngineOptions",
    "Evaluation",
    "Experiment",
    "GradNormBound",
    "Guard",
    "Guards",
    "KLBound",
    "LearnerPods",
    "Limits",
    "Metadata",
    "Model",
    "ModelCache",
    "Part",
    "Place",
    "Probe",
    "PromptFormat",
    "Reading",
    "Reward",
    "RewardCollapse",
    "Role",
    "RolloutPods",
    "Schedule",
    "Scratch",
    "Selection",
    "Spec",
    "Storage",
    "Strategy",
    "SubsetSize",
    "Tracker",
    "TrackerKind",
    "Training",
]
