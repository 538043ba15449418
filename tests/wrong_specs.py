"""Specs that a person gets wrong, and the words that must tell them so.

"apply": the API server refuses it. "condition": only the operator can, with `limr.validate.problems`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Patch = Mapping[str, Any]
REMOVED = object()

VALID: dict[str, Any] = {
    "apiVersion": "limr.dev/v1alpha1",
    "kind": "LIMRExperiment",
    "metadata": {"name": "demo", "namespace": "default"},
    "spec": {
        "model": {"uri": "Qwen/Qwen2.5-Math-7B"},
        "dataset": {"uri": "s3://rl/data/math.json"},
        "storage": {"uri": "s3://rl/experiments"},
        "arms": [{"name": "lim"}, {"name": "random", "selection": {"strategy": "random"}, "size": {"sameAs": "lim"}}],
        "evaluation": {"benchmarks": [{"name": "math500", "uri": "s3://rl/data/math500.jsonl"}]},
    },
}


@dataclass(frozen=True)
class WrongSpec:
    name: str
    patch: Patch  # merged into VALID; lists are replaced
    says: str
    refused_by: Literal["apply", "condition"] = "apply"
    on_a_laptop: bool = True  # whether `limr validate` refuses it too

    @property
    def manifest(self) -> dict[str, Any]:
        return merged(VALID, self.patch)


def merged(base: Mapping[str, Any], patch: Patch) -> dict[str, Any]:
    result = copy.deepcopy(dict(base))
    for key, value in patch.items():
        if value is REMOVED:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def of_spec(name: str, patch: Patch, says: str, **how: Any) -> WrongSpec:
    return WrongSpec(name, {"spec": patch}, says, **how)


def arms(name: str, *entries: Patch, says: str, **parts: Any) -> WrongSpec:
    return of_spec(name, {"arms": list(entries), **parts}, says)


def benchmarks(name: str, *entries: Patch, says: str, **fields: Any) -> WrongSpec:
    return of_spec(name, {"evaluation": {"benchmarks": list(entries), **fields}}, says)


def tracking(name: str, *entries: Patch, says: str) -> WrongSpec:
    return of_spec(name, {"tracking": list(entries)}, says)


LIM = {"name": "lim"}
MATH = {"name": "math500", "uri": "s3://b/m.jsonl"}

NAMES = [
    WrongSpec("long name", {"metadata": {"name": "a" * 21}}, "has 21 characters; write at most 20"),
    WrongSpec("double hyphen", {"metadata": {"name": "a--b"}}, "letters, digits and single hyphens"),
    WrongSpec("name begins with a digit", {"metadata": {"name": "7b"}}, "beginning with a letter"),
    WrongSpec("name with a dot", {"metadata": {"name": "qwen.math"}}, "'qwen.math' is no name for an experiment"),
    arms("arm in capitals", {"name": "Lim"}, says="arms[0].name"),
    arms("arm with a long name", {"name": "learning-impact"}, says="arms[0].name"),
    of_spec("secret in capitals", {"storage": {"credentialsSecret": "My_Secret"}}, "storage.credentialsSecret"),
]

STRUCTURE = [
    WrongSpec("no spec", {"spec": REMOVED}, "spec: Required value"),
    of_spec("no model", {"model": REMOVED}, "spec.model: Required value"),
    of_spec("no dataset", {"dataset": REMOVED}, "spec.dataset: Required value"),
    of_spec("no storage", {"storage": REMOVED}, "spec.storage: Required value", on_a_laptop=False),
    of_spec("misspelt field", {"ppo": {"promptPerStep": 64}}, "promptPerStep"),
    of_spec("field in snake case", {"ppo": {"prompts_per_step": 64}}, "prompts_per_step"),
    of_spec("field in the wrong part", {"temperature": 1.0}, "temperature"),
    of_spec("text for a number", {"ppo": {"temperature": "1.2"}}, "temperature"),
    of_spec("number for a truth", {"ppo": {"packing": 1}}, "packing"),
    of_spec("fraction for a count", {"probe": {"epochs": 2.5}}, "epochs"),
    of_spec("object for a list", {"arms": {"name": "lim"}}, "arms"),
    of_spec("number as a label", {"cluster": {"learner": {"nodeSelector": {"pool": 1}}}}, "nodeSelector"),
    of_spec("no arms", {"arms": []}, "spec.arms"),
    arms("too many arms", *({"name": f"a{number}"} for number in range(21)), says="spec.arms"),
    arms("no seeds", {**LIM, "seeds": []}, says="spec.arms[0].seeds"),
    of_spec("three betas", {"ppo": {"adamBetas": [0.9, 0.95, 0.99]}}, "spec.ppo.adamBetas"),
]

BOUNDS = [
    of_spec("no prompts", {"ppo": {"promptsPerStep": 0, "trainBatchSize": 8}}, "spec.ppo.promptsPerStep"),
    of_spec("learning rate of zero", {"ppo": {"actorLearningRate": 0}}, "spec.ppo.actorLearningRate"),
    of_spec("discount above one", {"ppo": {"gamma": 1.01}}, "spec.ppo.gamma"),
    of_spec("dual clip of one", {"ppo": {"dualClip": 1}}, "spec.ppo.dualClip"),
    of_spec("beta above one", {"ppo": {"adamBetas": [0.9, 1.5]}}, "spec.ppo.adamBetas[1]"),
    of_spec("unknown algorithm", {"ppo": {"algorithm": "reinforce"}}, 'supported values: "ppo", "grpo", "rloo"'),
    of_spec("ZeRO stage 4", {"ppo": {"zeroStage": 4}}, "spec.ppo.zeroStage"),
    of_spec("share of all", {"guards": {"accuracyCollapse": {"share": 1}}}, "spec.guards.accuracyCollapse.share"),
    of_spec("no attempts", {"limits": {"attempts": 0}}, "spec.limits.attempts"),
    of_spec("memory share above one", {"cluster": {"rollout": {"engine": {"memoryShare": 1.5}}}}, "engine.memoryShare"),
    of_spec("topology key with a space", {"cluster": {"learner": {"topologyKey": "my rack"}}}, "topologyKey"),
    of_spec("relative cache", {"cluster": {"modelCache": {"hostPath": "models"}}}, "cluster.modelCache.hostPath"),
    of_spec("too many GPUs", {"cluster": {"rollout": {"gpus": 17}}}, "spec.cluster.rollout.gpus"),
    tracking("unknown tracker", {"kind": "neptune"}, says='supported values: "tensorboard", "wandb", "mlflow"'),
    tracking(
        "password in a URL",
        {"kind": "mlflow", "trackingUri": "http://me:secret@mlflow:5000"},
        says="spec.tracking[0].trackingUri",
    ),
    of_spec("grader without function", {"reward": {"function": "graders"}}, "spec.reward.function"),
    arms("seed that does not fit", {**LIM, "seeds": [1000]}, says="spec.arms[0].seeds[0]"),
]

RULES = [
    of_spec("prompt lost", {"model": {"prompt": {"template": "Solve it."}}}, "template has no {prompt}"),
    of_spec("system without chat", {"model": {"prompt": {"system": "Be brief."}}}, "set chat: true or remove system"),
    of_spec(
        "secret and role",
        {"storage": {"credentialsSecret": "s3", "serviceAccountName": "trainer"}},
        "credentialsSecret and serviceAccountName exclude each other; keep one",
    ),
    of_spec(
        "endpoint of a folder",
        {"storage": {"uri": "/data/runs", "endpoint": "http://minio:9000"}},
        "endpoint is only used with an s3:// uri",
    ),
    of_spec("batch that does not divide", {"ppo": {"trainBatchSize": 100}}, "make trainBatchSize a divisor of 8192"),
    of_spec("uneven share", {"cluster": {"learner": {"replicas": 3}}}, "256 responses cannot be shared evenly by 3"),
    of_spec(
        "uneven share of GPUs",
        {"ppo": {"trainBatchSize": 4}, "cluster": {"learner": {"gpus": 8}}},
        "4 responses cannot be shared evenly by 8 learners",
    ),
    of_spec(
        "processes beside GPUs",
        {"cluster": {"learner": {"gpus": 2, "processes": 2}}},
        "processes stand in for GPUs, and gpus = 2 of each Pod have a process each",
    ),
    of_spec(
        "GPUs that engines cannot share",
        {"cluster": {"rollout": {"gpus": 6, "tensorParallel": 4}}},
        "the 6 GPUs (without GPUs, the 1 processes) of a Pod do not divide into engines of tensorParallel = 4",
    ),
    of_spec(
        "engine across Pods",
        {"cluster": {"rollout": {"gpus": 4, "tensorParallel": 8}}},
        "do not divide into engines of tensorParallel = 8",
    ),
    of_spec(
        "GPUs for learners alone",
        {"cluster": {"learner": {"gpus": 1}, "rollout": {"gpus": 0}}},
        "one image serves both and is built for GPUs or for CPUs",
    ),
    of_spec(
        "memory share of a CPU",
        {"cluster": {"learner": {"gpus": 0}, "rollout": {"gpus": 0, "engine": {"memoryShare": 0.5}}}},
        "have no meaning for vLLM's CPU build",
    ),
    of_spec(
        "batch invariance on a CPU",
        {"cluster": {"learner": {"gpus": 0}, "rollout": {"gpus": 0, "engine": {"batchInvariant": True}}}},
        "have no meaning for vLLM's CPU build",
    ),
    of_spec("volume without a size", {"cluster": {"scratch": {"storageClass": "nvme"}}}, "write sizeGib"),
    of_spec(
        "cache without a place", {"cluster": {"modelCache": {}}}, "exactly one of persistentVolumeClaim and hostPath"
    ),
    of_spec(
        "cache in two places",
        {"cluster": {"modelCache": {"persistentVolumeClaim": "models", "hostPath": "/mnt/models"}}},
        "exactly one of persistentVolumeClaim and hostPath",
    ),
    of_spec(
        "group of one",
        {"ppo": {"algorithm": "grpo", "samplesPerPrompt": 1, "trainBatchSize": 64}},
        "algorithm grpo compares a prompt's samples; set samplesPerPrompt to 2 or more",
    ),
    of_spec("nucleus in training", {"ppo": {"topP": 0.95}}, "topP 0.95 would sample from a part of the vocabulary"),
    of_spec("bounds reversed", {"ppo": {"importanceClip": [5, 0.5]}}, "the first is larger than the second"),
    arms("arm twice", LIM, {"name": "full", "reuseProbe": True}, LIM, says="'lim' stands twice; rename one"),
    arms("reserved arm", {"name": "base"}, says="a line 'base' of its own; rename the arm"),
    arms("sameAs of nobody", LIM, {"name": "r", "size": {"sameAs": "lym"}}, says="'lym' is not the name of an arm"),
    arms("sameAs of a later arm", {"name": "r", "size": {"sameAs": "lim"}}, LIM, says="put that arm first"),
    arms("sameAs of itself", {"name": "r", "size": {"sameAs": "r"}}, says="'r' is not the name of an arm above"),
    arms(
        "sameAs of the probe",
        {"name": "full", "reuseProbe": True},
        {"name": "r", "size": {"sameAs": "full"}},
        says="reuseProbe selects none",
    ),
    arms("two sizes", {**LIM, "size": {"count": 9, "fraction": 0.5}}, says="exactly one of sameAs, count, fraction"),
    arms("no size in size", {**LIM, "size": {}}, says="exactly one of sameAs, count, fraction"),
    arms("seed twice", {**LIM, "seeds": [1, 2, 1]}, says="seeds has a value twice"),
    arms("probe with steps", {"name": "full", "reuseProbe": True, "steps": 9}, says="reuseProbe takes the probe as it"),
    of_spec(
        "no probe to reuse",
        {"selection": {"scoresFrom": "s3://b/s.json"}, "arms": [{"name": "full", "reuseProbe": True}]},
        "there is none to reuse; remove one of the two",
    ),
    of_spec("no steps", {"selection": {"scoresFrom": "s3://b/s.json"}}, "there is no default number of steps"),
    of_spec(
        "two stages in one cluster",
        {"schedule": {"reuseCluster": True, "parallelStages": 2}},
        "reuseCluster runs one stage at a time, not parallelStages = 2; set parallelStages to 1 or remove it",
    ),
    of_spec(
        "no reference to be far from",
        {"guards": {"kl": {"above": 0.5}}, "ppo": {"klCoefficient": 0}},
        "with ppo.klCoefficient = 0 there is no reference to be far from; remove this guard or write a coefficient",
    ),
    of_spec(
        "heartbeat shorter than a wait",
        {"limits": {"heartbeatSeconds": 900}},
        "heartbeatSeconds = 900 is shorter than waitSeconds = 1800",
    ),
    of_spec("guard without its bound", {"guards": {"stall": {}}}, "seconds"),
    tracking("project of tensorboard", {"kind": "tensorboard", "project": "math"}, says="are fields of kind wandb"),
    tracking("uri of wandb", {"kind": "wandb", "trackingUri": "http://m:5000"}, says="are fields of kind mlflow"),
    tracking("mlflow without server", {"kind": "mlflow"}, says="write trackingUri, for example http://mlflow:5000"),
    tracking("login of tensorboard", {"kind": "tensorboard", "credentialsSecret": "tb"}, says="logs in nowhere"),
    tracking("tracker twice", {"kind": "wandb"}, {"kind": "wandb", "mode": "offline"}, says="has a kind twice"),
    benchmarks("benchmark twice", MATH, MATH, says="two benchmarks have the same name"),
    benchmarks("benchmark average", {**MATH, "name": "average"}, says="a column 'average' of its own"),
    benchmarks("nothing to evaluate", everySteps=5, says="everySteps has no benchmarks to evaluate"),
    benchmarks("greedy samples", {**MATH, "samples": 4}, says="set samples: 1 or a temperature"),
    benchmarks(
        "greedy against the protocol",
        {"name": "aime24", "uri": "s3://b/a.jsonl", "temperature": 0},
        protocol="paper",
        says="set samples: 1 or a temperature",
    ),
    arms(
        "random without size",
        {"name": "r", "selection": {"strategy": "random"}},
        says="write how many prompts it keeps, for example size: {sameAs: lim}",
    ),
    arms(
        "ranking by spec.selection without size",
        LIM,
        {"name": "f", "selection": {"strategy": "full"}},
        says="'lim' has a strategy without a threshold",
        selection={"strategy": "variance"},
    ),
    arms(
        "all prompts but not all",
        {"name": "f", "selection": {"strategy": "full"}, "size": {"count": 3}},
        says="which keeps every prompt; remove size",
    ),
    of_spec(
        "trajectories that nobody makes",
        {
            "selection": {"scoresFrom": "s3://b/s.json"},
            "training": {"steps": 3},
            "arms": [{"name": "p", "selection": {"strategy": "passrate"}}],
        },
        "needs the trajectories of a probe",
    ),
    benchmarks(
        "protocol without its benchmarks",
        {"name": "sums", "uri": "s3://b/s.jsonl"},
        protocol="paper",
        says="name the benchmarks so or remove protocol",
    ),
]

CLUSTER = [
    of_spec(
        f"relative path of {part}",
        {"training": {"steps": 3}, part: fields},
        "a relative path means nothing on a cluster",
        on_a_laptop=False,
    )
    for part, fields in (
        ("model", {"uri": "./model"}),
        ("dataset", {"uri": "data/math.json"}),
        ("storage", {"uri": "runs"}),
        ("selection", {"scoresFrom": "scores.json"}),
        ("evaluation", {"benchmarks": [{"name": "m", "uri": "../m.jsonl"}]}),
    )
]

CONDITIONS = [
    of_spec("unknown strategy", {"selection": {"strategy": "lmi"}}, "did you mean lim?", refused_by="condition"),
    of_spec(
        "parameter that lim has not",
        {"selection": {"parameters": {"low": 0.1}}},
        "strategy lim has no such parameter",
        refused_by="condition",
    ),
    of_spec(
        "parameter that is a list",
        {"selection": {"strategy": "passrate", "parameters": {"low": [0.1]}}},
        "selection.parameters.low: is a list; write a number",
        refused_by="condition",
    ),
    of_spec(
        "parameter that is text",
        {"selection": {"strategy": "passrate", "parameters": {"low": "0.1"}}},
        "parameters.low: is '0.1'; write a number",
        refused_by="condition",
    ),
]

WRONG_SPECS = [*NAMES, *STRUCTURE, *BOUNDS, *RULES, *CLUSTER, *CONDITIONS]
