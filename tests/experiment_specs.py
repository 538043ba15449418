"""Specs that keep or break the rules that join fields, for property tests. What one field may be by itself is right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

Values = st.SearchStrategy[Any]

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def of(*values: Any) -> Values:
    return st.sampled_from(values)


def part(required: dict[str, Values] | None = None, **optional: Values) -> Values:
    return st.fixed_dictionaries(required or {}, optional=optional)


MODEL = part(
    {"uri": of("Qwen/Qwen2.5-Math-7B", "s3://b/m", "/data/model")},
    dtype=of("float32"),
    prompt=part(template=of("{prompt}", "Q: {prompt}\nA:", "Solve."), chat=of(True, False), system=of("Be brief.", "")),
)
STORAGE = part(
    {"uri": of("s3://b/e", "s3://b/e", "/data/runs")},
    endpoint=of("", "http://minio:9000", None),
    credentialsSecret=of("s3", "s3", None),
    serviceAccountName=of("trainer", None),
    texts=of(True),
)
PPO = part(
    algorithm=of("ppo", "grpo", "rloo"),
    promptsPerStep=of(1, 8, 64),
    samplesPerPrompt=of(1, 2, 8),
    trainBatchSize=of(1, 2, 8, 6),
    valueClip=of(None, 0, 0.1, 1),
    importanceClip=of(None, [], [0.5, 5], [2, 2.0], [5, 0.5]),
    dualClip=of(None, 3),
    actorLearningRate=of(5e-7, 1e-6),
    adamBetas=of([0.9, 1]),
    klCoefficient=of(0, 0.01),
)
SIZE = st.one_of(
    part({"sameAs": of("lim", "a", "b")}),
    part({"fraction": of(0.5, 1)}),
    part(sameAs=of("lim"), count=of(5), fraction=of(1)),
)
STRATEGY = part(
    strategy=of("lim", "random"), threshold=of(0, 0.5), parameters=of({}, {"low": 0.25, "last": 3, "on": True})
)
ARM = part(
    {"name": of("lim", "a", "b", "c", "d", "base")},
    selection=STRATEGY,
    size=SIZE,
    seeds=of([1], [3, 2], [5, 6], [1, 1]),
    steps=of(7),
)
FULL = part({"name": of("full", "a"), "reuseProbe": of(True)}, seeds=of([2]))
BENCHMARK = part(
    {"name": of("aime24", "amc23", "math500", "sums", "average"), "uri": of("s3://b/q.jsonl")},
    samples=of(1, 4),
    temperature=of(0, 0.4),
    topP=of(0.9),
    maxResponseTokens=of(99),
    questionField=of("q"),
)
EVALUATION = part(protocol=of("paper"), benchmarks=st.lists(BENCHMARK, max_size=3), everySteps=of(None, None, 5))
GUARDS = part(
    kl=part({"above": of(0.5)}),
    gradNorm=part(times=of(0, 50)),
    accuracyCollapse=part(share=of(0, 0.5)),
    nonFinite=part(action=of("Stop")),
    deviceHours=part(action=of("Stop", "Suspend")),
)
ENGINE = part(memoryShare=of(None, 0.5), maxSequences=of(None, 64), batchInvariant=of(True), prefixCaching=of(False))
CLUSTER = part(
    learner=part(
        replicas=of(1, 2, 3),
        gpus=of(0, 2),
        processes=of(1, 2),
        tolerations=of([{"key": "gpu", "tolerationSeconds": None}]),
    ),
    rollout=part(gpus=of(0, 2, 4), processes=of(1, 2), tensorParallel=of(1, 2, 3), engine=ENGINE),
    scratch=part(sizeGib=of(None, 50), storageClass=of("nvme")),
    modelCache=part(persistentVolumeClaim=of("models"), hostPath=of("/mnt/models")),
)

TRACKER = part(
    {"kind": of("tensorboard", "wandb", "mlflow")},
    project=of("math"),
    mode=of("offline"),
    trackingUri=of("http://mlflow:5000"),
    experiment=of("math"),
    credentialsSecret=of("trackers"),
)

REQUIRED = {
    "model": of({"uri": "/data/model"}),
    "dataset": of({"uri": "/data/d.json"}),
    "storage": of({"uri": "s3://b/e"}),
}
# Rules that join several parts are only looked at when each part is right, so not everything varies at once.
GROUPS: tuple[dict[str, Values], ...] = (
    {"model": MODEL, "storage": STORAGE, "dataset": part({"uri": of("s3://b/d.json")}, answerField=of("a"))},
    {"ppo": PPO, "cluster": CLUSTER, "guards": GUARDS},
    {
        "arms": st.lists(ARM | FULL, min_size=1, max_size=4),
        "selection": STRATEGY | part(scoresFrom=of("s3://b/s.json"), roundDigits=of(2)),
        "training": part(steps=of(None, 10)),
    },
    {"evaluation": EVALUATION},
    {
        "reward": part(function=of("graders.math:grade"), workers=of(None, 4)),
        "ttlSecondsAfterFinished": of(None, 0, 60),
        "limits": part(deviceHours=of(None, 4), heartbeatSeconds=of(60, 1800), waitSeconds=of(60, 1800, 3600)),
        "schedule": part(reuseCluster=of(True, False), parallelStages=of(None, 1, 2)),
    },
    {
        "tracking": st.lists(TRACKER, max_size=3),
    },
)


def specs() -> Values:
    everything = {name: values for group in GROUPS for name, values in group.items()}
    return st.one_of(*(st.fixed_dictionaries(REQUIRED | group) for group in (*GROUPS, everything)))


def changes() -> Values:
    """Of a valid spec, to another valid one; lists are replaced."""
    return part(
        seed=of(1, 2),
        model=part(revision=of("abc", None), prompt=part(chat=of(True, False), template=of("{prompt}", "{prompt}!"))),
        dataset=part(promptField=of("prompt", "question")),
        storage=part(
            uri=of("s3://rl/experiments", "s3://rl/other"),
            endpoint=of("http://minio:9000", None),
            credentialsSecret=of("s3"),
            texts=of(True, False),
        ),
        ppo=part(
            valueClip=of(0, 0.2, 0.3),
            importanceClip=of([], [0.5, 5], [0.5, 4]),
            dualClip=of(None, 3),
            clipLow=of(0.2, 0.1),
            gamma=of(1, 0.9),
        ),
        checkpoint=part(everySteps=of(5)),
        reward=part(workers=of(2), correct=of(1, 2)),
        selection=part(threshold=of(0.6), parameters=of({}, {"low": 0.5})),
        training=part(steps=of(None, 5)),
        arms=of(
            [{"name": "lim"}, {"name": "random", "selection": {"strategy": "random"}, "size": {"sameAs": "lim"}}],
            [{"name": "lim", "seeds": [1]}],
            [{"name": "lim", "selection": {"parameters": {"low": 1}}}],
        ),
        evaluation=part(everySteps=of(None, 4), protocol=of("paper")),
        tracking=of([], [{"kind": "tensorboard"}], [{"kind": "wandb", "mode": "offline"}]),
        cluster=part(image=of("limr:2"), learner=part(replicas=of(1, 2))),
        schedule=part(suspend=of(True, False), queue=of("research"), reuseCluster=of(True, False)),
        limits=part(attempts=of(3, 9), deviceHours=of(None, 4.5)),
        guards=part(kl=part({"above": of(0.5, 1)}), stall=of(None, {"seconds": 60})),
        ttlSecondsAfterFinished=of(None, 60),
    )
