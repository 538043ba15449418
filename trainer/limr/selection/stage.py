"""The Selection stage of one arm: reads the probe, or scores one already has, and writes the arm's subset."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pyarrow.parquet as pq

from limr import dataset as datasets
from limr.errors import LimrError
from limr.selection import output, registry, run
from limr.selection.run import Selection, Source
from limr.selection.scores_file import read_scores
from limr.selection.sources import read_trajectories
from limr.selection.strategy import Strategy
from limr.spec import Arm, SubsetSize
from limr.stage import Output, StageInput
from limr.store import digest, read_uri
from limr.store.base import Store
from limr.store.layout import MANIFEST, SCORES, SUBSET, SUMMARY, in_stage

PROBE = "probe"


def run_stage(stage_input: StageInput, store: Store) -> dict[str, Output]:
    """Writes below <stage name>/ of `store`, the one at stage_input.root, and returns what training and report need.

    "subset", or "subset-s<seed>" for each seed of the arm where the strategy draws; "scores" where it measures; and
    "summary". Equal input gives equal bytes. Raises LimrError.
    """
    spec = stage_input.experiment.spec
    arm = next(arm for arm in spec.arms if arm.name == stage_input.stage.arm)
    choice = spec.strategy_of(arm)
    strategy = registry.find(choice.strategy)
    data = read_uri(spec.dataset.uri, spec.storage.endpoint)
    dataset = datasets.parse(data, spec.dataset.uri, spec.dataset.prompt_field, spec.dataset.answer_field)
    source, size = _source(stage_input, arm, strategy), _size(stage_input, arm)
    seeds = arm.seeds if strategy.seeded else [spec.seed]
    selections = {seed: run.select(source, choice, size=size, seed=seed, dataset=dataset) for seed in seeds}
    return _write(_files(strategy, selections), stage_input, store)


def _source(stage_input: StageInput, arm: Arm, strategy: Strategy) -> Source | None:
    spec = stage_input.experiment.spec
    if spec.selection.scores_from is None:
        return read_trajectories(_probe(stage_input), endpoint=spec.storage.endpoint, solved_reward=spec.reward.correct)
    if not strategy.needs_trajectories:
        return None
    if strategy.name != spec.selection.strategy:
        raise LimrError(
            f"arm {arm.name}: {strategy.name} needs the trajectories of a probe, but selection.scoresFrom gives scores "
            f"of {spec.selection.strategy} and no probe runs; remove scoresFrom, or this arm's strategy"
        )
    return read_scores(spec.selection.scores_from, spec.storage.endpoint)


def _probe(stage_input: StageInput) -> str:
    """Where the probe's manifest is, after a look that it is the one that the probe handed back."""
    manifest = stage_input.inputs[PROBE]["manifest"]
    found = digest.of_bytes(read_uri(manifest.uri, stage_input.experiment.spec.storage.endpoint))
    if found != manifest.digest:
        raise LimrError(f"{manifest.uri}: its digest is {found}, not {manifest.digest} as after the probe; restore it")
    return manifest.uri


def _size(stage_input: StageInput, arm: Arm) -> SubsetSize | None:
    """The arm's size, with sameAs turned into the number of prompts that the other arm selected."""
    if arm.size is None or arm.size.same_as is None:
        return arm.size
    outputs = stage_input.inputs[f"select-{arm.size.same_as}"]
    subset = next(output for name, output in outputs.items() if name.startswith("subset"))  # all seeds' are as large
    data = read_uri(subset.uri, stage_input.experiment.spec.storage.endpoint)
    return SubsetSize(count=pq.read_metadata(io.BytesIO(data)).num_rows)


def _files(strategy: Strategy, selections: Mapping[int, Selection]) -> dict[str, bytes]:
    """By name. What is drawn has no scores worth keeping; its summary is the first seed's."""
    first, *_ = selections.values()
    summary = dict(first.summary)
    if not strategy.seeded:
        files = {SUBSET: output.subset_bytes(first)}
    else:
        files = {SUBSET.replace(".", f"-s{seed}."): output.subset_bytes(one) for seed, one in selections.items()}
        summary |= {"seed": None, "seeds": list(selections)}
    if strategy.needs_trajectories:
        files[SCORES] = output.scores_bytes(first)
    return {**files, SUMMARY: output.json_bytes(summary)}


def _write(files: Mapping[str, bytes], stage_input: StageInput, store: Store) -> dict[str, Output]:
    stage = stage_input.stage.name
    outputs = {}
    for name, data in files.items():
        path = in_stage(stage, name)
        store.put(path, data)
        outputs[name.partition(".")[0]] = Output(uri=f"{stage_input.root}/{path}", digest=digest.of_bytes(data))
    manifest = {
        "stage": stage,
        "attempt": stage_input.attempt,
        "outputs": {name: json.loads(made.to_json()) for name, made in outputs.items()},
        "finished": True,
    }
    store.put(in_stage(stage, MANIFEST), output.json_bytes(manifest))
    return outputs
