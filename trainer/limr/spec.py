"""The `LIMRExperiment` resource: the one source of the CRD schema, the chart's docs and the command line's checks.

Defaults are the LIMR paper's values (Less is More for RL Scaling, 2025). Every field has a description, because
`kubectl explain` and the docs are made from here. Rules that join several fields of one part live in that part's
validator, rules that join several parts in `Spec`; each message says what to write instead and names every field it
joins (limr.validate relies on that: it does not repeat a rule whose fields are already known to be wrong).
`cel` beside a validator says the same for the API server; a test compares the two on generated specs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from limr.cel import Cel
from limr.guards import Guards
from limr.part import NonEmpty, ObjectName, Part, refuse
from limr.tracker import Tracker

# An arm's name ends up in RayJob names (at most 47 characters): <experiment>--train-<arm>-s<seed>-<attempt>.
# "--" only stands after the experiment's name, so that no two experiments can claim one child.
ExperimentName = Annotated[str, StringConstraints(pattern=r"^[a-z](-?[a-z0-9])*$", max_length=20)]
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z](-?[a-z0-9])*$", max_length=10)]
Seed = Annotated[int, Field(ge=0, le=999)]
Text = Annotated[str, StringConstraints(max_length=16384)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _bounds(value: Any) -> Any:
    return tuple(value) or None if isinstance(value, list | tuple) else value


# null means none too, but `kubectl apply` drops it, so that the default would count: these can be written otherwise.
OrNone = Annotated[Annotated[float, Field(ge=0)] | None, AfterValidator(lambda value: value or None)]
BoundsOrNone = Annotated[tuple[float, float] | None, BeforeValidator(_bounds)]


class PromptFormat(Part):
    """How a question becomes the text that the model continues; the same in training and in evaluation."""

    template: Text = Field("{prompt}", min_length=1, description="Text around the question; must contain {prompt}.")
    chat: bool = Field(False, description="Apply the tokenizer's chat template, with the text as the user's turn.")
    system: Text | None = Field(None, description="System message; needs chat: true.")

    cel = (
        Cel(
            "self.template.contains('{prompt}')",
            "template has no {prompt}, so the question would be lost; write for example '{prompt}'",
        ),
        Cel(
            "!has(self.system) || self.chat", "system is only used by a chat template; set chat: true or remove system"
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if "{prompt}" not in self.template:
            problems.append("template has no {prompt}, so the question would be lost; write for example '{prompt}'")
        if self.system is not None and not self.chat:
            problems.append("system is only used by a chat template; set chat: true or remove system")
        refuse(problems)
        return self


class Model(Part):
    uri: Uri = Field(description="Hub id (Qwen/Qwen2.5-Math-7B), s3://…, or a directory in Hugging Face form.")
    revision: NonEmpty | None = Field(None, description="Commit or tag of a hub model.")
    dtype: Literal["bfloat16", "float32"] = Field("bfloat16", description="Precision of weights in every process.")
    prompt: PromptFormat = Field(PromptFormat(), description="How a question becomes the text that it continues.")


class Dataset(Part):
    uri: Uri = Field(description="JSON or JSONL file (local path or s3://), one object per prompt.")
    prompt_field: NonEmpty = Field("prompt", description="Field with the question.")
    answer_field: NonEmpty = Field("answer", description="Field with the reference answer.")


class Storage(Part):
    uri: Uri = Field("runs", description="Folder or s3://bucket/prefix below which each experiment gets its own.")
    endpoint: Annotated[str, StringConstraints(max_length=2048)] | None = Field(
        None, description="URL of an S3-compatible server; empty for AWS."
    )
    credentials_secret: ObjectName | None = Field(
        None,
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. On a laptop the environment counts.",
    )
    ca_config_map: ObjectName | None = Field(
        None, description="ConfigMap whose ca.crt signs the endpoint's certificate, instead of the usual authorities."
    )
    texts: bool = Field(False, description="Also record the responses' texts, beside the trajectories.")
    service_account_name: ObjectName | None = Field(
        None, description="ServiceAccount with a cloud role, instead of a Secret."
    )

    cel = (
        Cel(
            "!has(self.credentialsSecret) || !has(self.serviceAccountName)",
            "credentialsSecret and serviceAccountName exclude each other; keep one",
        ),
        Cel(
            "!has(self.endpoint) || self.endpoint == '' || self.uri.startsWith('s3://')",
            "endpoint is only used with an s3:// uri; change uri or remove endpoint",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.credentials_secret and self.service_account_name:
            problems.append("credentialsSecret and serviceAccountName exclude each other; keep one")
        if self.endpoint and not self.uri.startswith("s3://"):
            problems.append("endpoint is only used with an s3:// uri; change uri or remove endpoint")
        refuse(problems)
        return self


class Algorithm(StrEnum):
    PPO = "ppo"
    GRPO = "grpo"
    RLOO = "rloo"


class PPO(Part):
    """The training recipe. Formulas: docs/formulas.md."""

    algorithm: Algorithm = Field(Algorithm.PPO, description="ppo (with a critic), grpo or rloo (without).")
    prompts_per_step: int = Field(1024, ge=1, description="Prompts sampled in one step.")
    samples_per_prompt: int = Field(8, ge=1, description="Responses per prompt.")
    temperature: float = Field(1.2, gt=0, le=5, description="Sampling temperature.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling; 1 samples from the whole distribution.")
    max_prompt_tokens: int = Field(1024, ge=1, description="Longer prompts are refused before training.")
    max_response_tokens: int = Field(3072, ge=1, description="Longer responses are cut and count as truncated.")
    train_batch_size: int = Field(256, ge=1, description="Responses per optimizer update, over all learners.")
    micro_batch_size: int = Field(4, ge=1, description="Responses per forward pass of one learner.")
    update_epochs: int = Field(1, ge=1, description="Passes over a step's responses.")
    actor_learning_rate: float = Field(5e-7, gt=0, description="Adam's rate for the policy, after warm-up.")
    critic_learning_rate: float = Field(9e-6, gt=0, description="Adam's rate for the critic (ppo only).")
    adam_betas: tuple[Fraction, Fraction] = Field((0.9, 0.95), description="Adam's decay of its two moments.")
    adam_epsilon: float = Field(1e-8, gt=0, description="Added to Adam's denominator.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay (AdamW).")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this global norm.")
    warmup_updates: int = Field(10, ge=0, description="Optimizer updates of linear warm-up; cosine decay follows.")
    min_learning_rate_ratio: Fraction = Field(0.1, description="Where the cosine ends, as a share of the rate.")
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k1", description="Estimator of KL(policy, reference) in the reward; in grpo's loss it is always k3."
    )
    kl_coefficient: float = Field(0.01, ge=0, description="β of the KL penalty in the token reward.")
    clip_low: float = Field(0.2, gt=0, lt=1, description="ε below 1 of the ratio clip.")
    clip_high: float = Field(0.2, gt=0, description="ε above 1; larger than clipLow is 'clip-higher'.")
    dual_clip: float | None = Field(None, gt=1, description="Bound c of the dual clip for negative advantages.")
    value_clip: OrNone = Field(0.2, description="ε of the value clip; 0 for none.")
    reward_clip: float = Field(10.0, gt=0, description="Rewards are clipped to ± this.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount γ per token.")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="λ of generalised advantage estimation (ppo only).")
    whiten_advantages: bool = Field(True, description="Over all response tokens of all learners (ppo only).")
    importance_clip: BoundsOrNone = Field(
        (0.5, 5.0),
        description="Bounds [low, high] of the off-policy correction learner/sampler (TIS); [] for none.",
        json_schema_extra={"minItems": 0},
    )
    compat: Literal["none", "paper"] = Field(
        "none",
        description="paper: as the LIMR code did, log-probabilities at temperature 1 and means per micro-batch.",
    )
    zero_stage: Literal[1, 2, 3] = Field(3, description="DeepSpeed ZeRO stage of actor and critic.")
    offload_optimizer: bool = Field(True, description="Keep Adam's state in host memory.")
    gradient_checkpointing: bool = Field(True, description="Recompute activations in the backward pass.")
    packing: bool = Field(True, description="Pack a micro-batch's sequences into one row instead of padding them.")

    cel = (
        Cel(
            "self.promptsPerStep * self.samplesPerPrompt % self.trainBatchSize == 0",
            "promptsPerStep × samplesPerPrompt = ${self.promptsPerStep * self.samplesPerPrompt} responses do not "
            "divide into updates of trainBatchSize = ${self.trainBatchSize}; make trainBatchSize a divisor of "
            "${self.promptsPerStep * self.samplesPerPrompt}",
            at="trainBatchSize",
        ),
        Cel(
            "self.algorithm == 'ppo' || self.samplesPerPrompt >= 2",
            "algorithm ${self.algorithm} compares a prompt's samples; set samplesPerPrompt to 2 or more",
            at="samplesPerPrompt",
        ),
        Cel(
            "!has(self.importanceClip) || self.importanceClip.size() != 1",
            "importanceClip is [low, high], or [] for none; the second is missing",
            at="importanceClip",
        ),
        Cel(
            "!has(self.importanceClip) || self.importanceClip.size() < 2 || "
            "self.importanceClip[0] <= self.importanceClip[1]",
            "importanceClip is [low, high]; the first is larger than the second",
            at="importanceClip",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        batch = self.prompts_per_step * self.samples_per_prompt
        if batch % self.train_batch_size:
            problems.append(
                f"promptsPerStep × samplesPerPrompt = {batch} responses do not divide into updates of trainBatchSize = "
                f"{self.train_batch_size}; make trainBatchSize a divisor of {batch}"
            )
        if self.algorithm is not Algorithm.PPO and self.samples_per_prompt < 2:
            problems.append(
                f"algorithm {self.algorithm} compares a prompt's samples; set samplesPerPrompt to 2 or more"
            )
        if self.importance_clip and self.importance_clip[0] > self.importance_clip[1]:
            problems.append("importanceClip is [low, high]; the first is larger than the second")
        refuse(problems)
        return self

    @property
    def updates_per_step(self) -> int:
        return self.prompts_per_step * self.samples_per_prompt // self.train_batch_size * self.update_epochs


class Checkpoint(Part):
    every_steps: int = Field(10, ge=1, description="Steps between checkpoints; what follows the last one is redone.")
    keep: int = Field(2, ge=1, description="How many to keep per stage.")


class Reward(Part):
    """+1 correct, −0.5 wrong, −1 for a format error, as in the paper."""

    function: str | None = Field(
        None,
        max_length=256,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
        description="Own grader as package.module:function; see docs/rewards.md. Default: the paper's rule.",
    )
    correct: float = Field(1.0, description="Reward of a correct answer.")
    wrong: float = Field(-0.5, description="Reward of a boxed but wrong answer.")
    malformed: float = Field(-1.0, description="Reward of a format error, a timeout or an error of the grader.")
    timeout_seconds: float = Field(
        5.0, gt=0, description="A verdict that takes more seconds of processor time is 'timeout'."
    )
    memory_mib: int = Field(2048, ge=256, description="Memory that one grading process may use.")
    workers: int | None = Field(None, ge=1, description="Grading processes; default: the cores there are.")


class Probe(Part):
    epochs: int = Field(21, ge=1, description="Passes over the dataset that measure each prompt's learning impact.")


class Reading(StrEnum):
    CODE = "code"
    PAPER = "paper"
    CORRECTED = "corrected"


class Strategy(Part):
    """How prompts are chosen. Further strategies come from installed packages (entry point limr.strategies)."""

    strategy: NonEmpty = Field("lim", description="lim, linear, random, full, passrate, variance, or an installed one.")
    threshold: float | None = Field(
        None, description="Keep scores from here on; default: the strategy's own (lim 0.6)."
    )
    reading: Reading = Field(
        Reading.CODE, description="Which reading of LIM: the paper's code, its text, or corrected."
    )
    round_digits: int | None = Field(None, ge=0, le=12, description="Round scores before comparing with the threshold.")
    parameters: dict[str, float | int | str | bool] = Field(
        {}, max_length=32, description="Settings of the strategy, for example {low: 0.2, high: 0.8} for passrate."
    )


class Selection(Strategy):
    scores_from: Uri | None = Field(
        None, description="File with scores one already has (JSON, Parquet): no probe runs."
    )


class SubsetSize(Part):
    same_as: ShortName | None = Field(None, description="As many prompts as that arm selected.")
    count: int | None = Field(None, ge=1, description="This many prompts.")
    fraction: float | None = Field(None, gt=0, le=1, description="This share of the dataset.")

    cel = (
        Cel(
            "[has(self.sameAs), has(self.count), has(self.fraction)].filter(given, given).size() == 1",
            "give exactly one of sameAs, count, fraction",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in ("same_as", "count", "fraction") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of sameAs, count, fraction")
        return self


class Arm(Part):
    """One follow-on training. Without a strategy it uses spec.selection."""

    name: ShortName = Field(description="Names the arm's stages and its line in the results.")
    selection: Strategy | None = Field(None, description="How this arm chooses its prompts; default: spec.selection.")
    size: SubsetSize | None = Field(None, description="How many prompts; the best-scored ones, or drawn by random.")
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=20)] = Field([1], description="One training for each.")
    steps: int | None = Field(None, ge=1, description="Training steps; default: spec.training, else as the probe.")
    reuse_probe: bool = Field(
        False, description="Do not train: the probe itself, a training on all prompts, is this arm's result."
    )

    cel = (
        Cel(
            "self.seeds.all(seed, self.seeds.exists_one(other, other == seed))",
            "seeds has a value twice; each seed is one training",
            at="seeds",
        ),
        Cel(
            "!self.reuseProbe || !(has(self.size) || has(self.steps) || has(self.selection))",
            "reuseProbe takes the probe as it is; remove selection, size and steps",
            at="reuseProbe",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if len(set(self.seeds)) != len(self.seeds):
            problems.append("seeds has a value twice; each seed is one training")
        if self.reuse_probe and (self.size or self.steps or self.selection):
            problems.append("reuseProbe takes the probe as it is; remove selection, size and steps")
        refuse(problems)
        return self


class Training(Part):
    steps: int | None = Field(None, ge=1, description="Steps of every arm; default: as many as the probe took.")


# What protocol: paper sets for a benchmark that says nothing else itself.
PAPER_PROTOCOL: dict[str, dict[str, float | int]] = {
    "aime24": {"samples": 4, "temperature": 0.4, "topP": 0.95, "maxResponseTokens": 3072},
    "amc23": {"samples": 4, "temperature": 0.4, "topP": 0.95, "maxResponseTokens": 3072},
    "math500": {"samples": 1, "temperature": 0.0, "topP": 0.95, "maxResponseTokens": 3072},
}


class Benchmark(Part):
    """One set of questions; samples, temperature, topP and maxResponseTokens may come from spec.evaluation.protocol."""

    name: ShortName = Field(description="Names the benchmark in the results.")
    uri: Uri = Field(description="JSON or JSONL file with questions and answers.")
    question_field: NonEmpty | None = Field(
        None, description="Field with the question. Default: question, else prompt."
    )
    answer_field: NonEmpty = Field("answer", description="Field with the reference answer.")
    samples: int = Field(1, ge=1, description="Responses per question. Default: 1.")
    temperature: float = Field(0.0, ge=0, le=5, description="Sampling temperature. Default: 0, which is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling. Default: 1, the whole distribution.")
    max_response_tokens: int | None = Field(None, ge=1, description="Default: ppo.maxResponseTokens.")
    limit: int | None = Field(None, ge=1, description="Only the first questions.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(
                "temperature 0 (greedy) gives the same response every time; set samples: 1 or a temperature"
            )
        return self


def _sampling(field: str, default: str) -> str:
    """CEL for what a field of the benchmark `one` will be."""
    settings = ", ".join(f"'{name}': {values[field]}" for name, values in PAPER_PROTOCOL.items())
    paper = f"has(self.protocol) && one.name in {{{settings}}} ? {{{settings}}}[one.name] : {default}"
    return f"(has(one.{field}) ? one.{field} : {paper})"


class Evaluation(Part):
    protocol: Literal["paper"] | None = Field(
        None,
        description="paper: aime24, amc23 with 4 samples at 0.4, math500 greedy, top-p 0.95, 3,072 tokens.",
    )
    benchmarks: list[Benchmark] = Field(
        [],
        max_length=20,
        description="What the base model and every trained model are compared on; none: no evaluation.",
    )
    every_steps: int | None = Field(None, ge=1, description="Also evaluate during training, every so many steps.")

    cel = (
        Cel(
            "self.benchmarks.all(one, self.benchmarks.exists_one(other, other.name == one.name))",
            "two benchmarks have the same name; rename one",
            at="benchmarks",
        ),
        Cel(
            "!self.benchmarks.exists(one, one.name == 'average')",
            "the report has a column 'average' of its own; rename the benchmark",
            at="benchmarks",
        ),
        Cel(
            "!has(self.everySteps) || self.benchmarks.size() > 0",
            "everySteps has no benchmarks to evaluate; add benchmarks or remove it",
            at="everySteps",
        ),
        Cel(  # here and not in Benchmark, because the protocol decides what is not written
            f"self.benchmarks.all(one, {_sampling('samples', '1')} == 1 || {_sampling('temperature', '0.0')} > 0.0)",
            "temperature 0 (greedy) gives the same response every time; set samples: 1 or a temperature",
            at="benchmarks",
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_protocol(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("protocol") == "paper" and isinstance(data.get("benchmarks"), list):
            return {**data, "benchmarks": [_paper_benchmark(entry) for entry in data["benchmarks"]]}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) != len(names):
            problems.append("two benchmarks have the same name; rename one")
        if "average" in names:
            problems.append("the report has a column 'average' of its own; rename the benchmark")
        if self.every_steps and not self.benchmarks:
            problems.append("everySteps has no benchmarks to evaluate; add benchmarks or remove it")
        refuse(problems)
        return self


def _paper_benchmark(entry: Any) -> Any:
    """The paper's sampling settings for a benchmark it used; what the entry says itself wins (null says nothing)."""
    if not isinstance(entry, dict) or entry.get("name") not in PAPER_PROTOCOL:
        return entry
    settings = PAPER_PROTOCOL[entry["name"]]
    said = {name: value for name, value in entry.items() if value is not None or name not in settings}
    return {**settings, **said}


class Place(Part):
    """Where a Pod runs and what it asks for. On a laptop none of it counts."""

    cpus: float = Field(1, gt=0, description="CPU cores that each asks for.")
    memory_gib: float | None = Field(
        None, gt=0, description="Host memory of each, in GiB, asked for and at most; 40 % of it for Ray's objects."
    )
    node_selector: dict[str, str] = Field({}, max_length=64, description="Labels of the nodes it may run on.")
    tolerations: list[dict[str, Any]] = Field([], max_length=64, description="Taints it tolerates, as in a Pod.")
    affinity: dict[str, Any] = Field({}, description="Affinity, as in a Pod.")
    topology_spread: list[dict[str, Any]] = Field(
        [], max_length=8, description="topologySpreadConstraints, as in a Pod."
    )
    pod_template: dict[str, Any] = Field(
        {},
        description="Merged over the Pod template by the rules of a strategic merge patch: containers, volumes and "
        "variables by their name. The main container's name is 'limr'.",
    )


class Role(Place):
    """One kind of Ray worker. On a laptop only `replicas` counts."""

    replicas: int = Field(1, ge=1, le=1024, description="How many processes, each in a Pod of its own.")
    gpus: int = Field(1, ge=0, le=16, description="GPUs of each; 0 on a cluster without GPUs.")


class Cluster(Part):
    image: Uri | None = Field(None, description="Trainer image, best by digest; default: the operator's.")
    image_pull_secrets: list[ObjectName] = Field([], max_length=8, description="Secrets to pull the image with.")
    driver: Place = Field(Place(), description="Ray head, with the training loop; also selection and report.")
    learner: Role = Field(Role(), description="DeepSpeed processes: one rank of actor, critic and reference each.")
    rollout: Role = Field(Role(), description="vLLM engines.")


class Schedule(Part):
    queue: ObjectName | None = Field(None, description="Kueue LocalQueue.")
    priority_class: ObjectName | None = Field(None, description="PriorityClass of the Pods.")
    suspend: bool = Field(False, description="true: checkpoint, then stop; false again: go on at the same step.")
    parallel_stages: int | None = Field(
        None, ge=1, le=100, description="How many stages may run at once; default: all that can. On a laptop one."
    )
    reuse_cluster: bool = Field(
        False,
        description="true: the stages run one after another in one RayCluster, which is started once and held in "
        "between; see docs/gpu-pools.md. On a laptop they always share one Ray.",
    )

    cel = (
        Cel(
            "!self.reuseCluster || !has(self.parallelStages) || self.parallelStages == 1",
            "reuseCluster runs one stage at a time, not parallelStages = ${self.parallelStages}; "
            "set parallelStages to 1 or remove it",
            at="parallelStages",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reuse_cluster and self.parallel_stages not in (None, 1):
            raise ValueError(
                f"reuseCluster runs one stage at a time, not parallelStages = {self.parallel_stages}; "
                "set parallelStages to 1 or remove it"
            )
        return self

    @property
    def slots(self) -> int | None:
        """How many stages may run at once; None: all that can."""
        return 1 if self.reuse_cluster else self.parallel_stages


class Limits(Part):
    attempts: int = Field(3, ge=1, le=20, description="Tries per stage; interruptions and suspensions do not count.")
    active_deadline_seconds: int | None = Field(None, ge=1, description="Longest time for one attempt of a stage.")
    heartbeat_seconds: int = Field(900, ge=10, description="A stage silent for longer has failed.")
    wait_seconds: int = Field(1800, ge=1, description="Longest wait for an engine or learner within a step.")
    device_hours: float | None = Field(None, gt=0, description="Budget of the whole experiment.")


RESERVED_NAMES = ("base", "probe")  # lines of the report that are no arms
MAX_ARMS = 20
_TWICE = "!self.arms.exists_one(other, other.name == arm.name)"
_INDEXES = list(range(MAX_ARMS))  # CEL has no other way to speak of what stands above
_SAME_AS_NONE_ABOVE = (
    "i < self.arms.size() && has(self.arms[i].size) && has(self.arms[i].size.sameAs) && "
    f"!{_INDEXES}.exists(j, j < i && self.arms[j].name == self.arms[i].size.sameAs && !self.arms[j].reuseProbe)"
)
_FIRST_SAME_AS_NONE = f"self.arms[{_INDEXES}.filter(i, {_SAME_AS_NONE_ABOVE})[0]].size.sameAs"


class Spec(Part):
    seed: Seed = Field(1, description="Of the probe, and of everything drawn at random.")
    model: Model = Field(description="The base model that every training starts from.")
    dataset: Dataset = Field(description="The prompts to choose from, with their answers.")
    storage: Storage = Field(Storage(), description="Where everything that the experiment makes is kept.")
    ppo: PPO = Field(PPO(), description="The training recipe, the same for the probe and every arm.")
    checkpoint: Checkpoint = Field(Checkpoint(), description="What an interrupted stage goes on from.")
    reward: Reward = Field(Reward(), description="How responses are graded, in training and in evaluation.")
    probe: Probe = Field(Probe(), description="The training on all prompts that measures them.")
    selection: Selection = Field(Selection(), description="How arms choose their prompts, unless they say otherwise.")
    training: Training = Field(Training(), description="What all arms' trainings share.")
    arms: list[Arm] = Field(
        [Arm(name="lim")], min_length=1, max_length=MAX_ARMS, description="The follow-on trainings that are compared."
    )
    evaluation: Evaluation = Field(Evaluation(), description="How the base model and the trained models are compared.")
    tracking: list[Tracker] = Field(
        [], max_length=3, description="Experiment trackers that are told of every training step; see docs/tracking.md."
    )
    cluster: Cluster = Field(Cluster(), description="Image and workers.")
    schedule: Schedule = Field(Schedule(), description="Queueing and suspension.")
    limits: Limits = Field(Limits(), description="When to stop trying.")
    guards: Guards = Field(Guards(), description="When to end what goes wrong before it has cost too much.")
    ttl_seconds_after_finished: int | None = Field(
        None, ge=0, description="Delete the resource this long after its end; what it stored stays. Default: never."
    )

    cel = (
        Cel(
            f"!self.arms.exists(arm, {_TWICE})",
            f"'${{self.arms.filter(arm, {_TWICE})[0].name}}' stands twice; rename one",
            at="arms",
        ),
        Cel(
            f"!self.arms.exists(arm, arm.name in {list(RESERVED_NAMES)})",
            f"the report has a line '${{self.arms.filter(arm, arm.name in {list(RESERVED_NAMES)})[0].name}}' of its "
            "own; rename the arm",
            at="arms",
        ),
        Cel(
            f"!{_INDEXES}.exists(i, {_SAME_AS_NONE_ABOVE})",
            f"size.sameAs: '${{{_FIRST_SAME_AS_NONE}}}' is not the name of an arm above this one that "
            "selects prompts (reuseProbe selects none); put that arm first",
            at="arms",
        ),
        Cel(
            "self.ppo.trainBatchSize % self.cluster.learner.replicas == 0",
            "${self.ppo.trainBatchSize} responses cannot be shared evenly by ${self.cluster.learner.replicas} "
            "learners; write a multiple of cluster.learner.replicas",
            at="ppo.trainBatchSize",
        ),
        Cel(
            "!has(self.selection.scoresFrom) || !self.arms.exists(arm, arm.reuseProbe)",
            "selection.scoresFrom skips the probe, so there is none to reuse; remove one of the two",
            at="arms",
        ),
        Cel(
            "!has(self.selection.scoresFrom) || has(self.training.steps) || self.arms.all(arm, has(arm.steps))",
            "without a probe there is no default number of steps; write one",
            at="training.steps",
        ),
        Cel(
            "!has(self.guards.kl) || self.ppo.klCoefficient > 0.0",
            "with ppo.klCoefficient = 0 there is no reference to be far from; remove this guard or write a coefficient",
            at="guards.kl",
        ),
        Cel(
            "self.tracking.all(one, self.tracking.exists_one(other, other.kind == one.kind))",
            "tracking has a kind twice; keep one of each",
            at="tracking",
        ),
    )

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        problems = [
            *_arm_problems(self),
            *_batch_problems(self),
            *_scores_problems(self),
            *_guard_problems(self),
            *_tracking_problems(self),
        ]
        if isinstance(info.context, list):  # limr.validate goes on, to find what else is wrong
            info.context.extend(f"spec.{problem}" for problem in problems)
        else:
            refuse(problems)
        return self

    def strategy_of(self, arm: Arm) -> Strategy:
        return arm.selection or self.selection


def _arm_problems(spec: Spec) -> list[str]:
    names = [arm.name for arm in spec.arms]
    problems = [
        f"arms: {name!r} stands twice; rename one" for name in dict.fromkeys(n for n in names if names.count(n) > 1)
    ]
    for index, arm in enumerate(spec.arms):
        if arm.name in RESERVED_NAMES:
            problems.append(f"arms[{index}].name: the report has a line {arm.name!r} of its own; rename the arm")
        same_as = arm.size.same_as if arm.size else None
        above = [other.name for other in spec.arms[:index] if not other.reuse_probe]
        if same_as is not None and same_as not in above:
            known = f", or write one of {', '.join(above)}" if above else ""
            problems.append(
                f"arms[{index}].size.sameAs: {same_as!r} is not the name of an arm above this one that selects prompts "
                f"(reuseProbe selects none); put that arm first{known}"
            )
    return problems


def _batch_problems(spec: Spec) -> list[str]:
    replicas = spec.cluster.learner.replicas
    if spec.ppo.train_batch_size % replicas:
        return [
            f"ppo.trainBatchSize: {spec.ppo.train_batch_size} responses cannot be shared evenly by "
            f"{replicas} learners; write a multiple of cluster.learner.replicas"
        ]
    return []


def _scores_problems(spec: Spec) -> list[str]:
    if spec.selection.scores_from is None:
        return []
    problems = [
        f"arms[{i}].reuseProbe: selection.scoresFrom skips the probe, so there is none to reuse; remove one of the two"
        for i, arm in enumerate(spec.arms)
        if arm.reuse_probe
    ]
    if spec.training.steps is None and any(arm.steps is None for arm in spec.arms):
        problems.append("training.steps: without a probe there is no default number of steps; write one")
    return problems


def _guard_problems(spec: Spec) -> list[str]:
    if spec.guards.kl is None or spec.ppo.kl_coefficient > 0:
        return []
    return [
        "guards.kl: with ppo.klCoefficient = 0 there is no reference to be far from; "
        "remove this guard or write a coefficient"
    ]


def _tracking_problems(spec: Spec) -> list[str]:
    kinds = [tracker.kind for tracker in spec.tracking]
    return ["tracking: tracking has a kind twice; keep one of each"] if len(set(kinds)) < len(kinds) else []


class Metadata(BaseModel):
    """Of Kubernetes' ObjectMeta only what limr reads; the rest passes through."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: ExperimentName
    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)] = "default"
    uid: str = ""
    generation: int = 0  # counts the changes of the spec; 0 where nobody counts


class Experiment(Part):
    """One LIMRExperiment, as applied to a cluster or given to `limr run`."""

    api_version: Literal["limr.dev/v1alpha1"] = "limr.dev/v1alpha1"
    kind: Literal["LIMRExperiment"] = "LIMRExperiment"
    metadata: Metadata
    spec: Spec

    @property
    def root(self) -> str:
        """URI of its folder: <storage.uri>/<namespace>/<name>-<first 8 of the uid>; without uid only the name."""
        metadata = self.metadata
        name = f"{metadata.name}-{metadata.uid[:8]}" if metadata.uid else metadata.name
        return f"{self.spec.storage.uri.rstrip('/')}/{metadata.namespace}/{name}"
