"""Rules that need no model and no file: strategies that exist, and arms that can choose their prompts at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from limr.cel import Cel
from limr.spec import PAPER_PROTOCOL, Arm, Experiment, Spec, Strategy
from limr.validate.explain import shown, similar

STRATEGY_GROUP = "limr.strategies"


@dataclass(frozen=True)
class BuiltIn:
    """What can be said of a strategy of limr.selection without importing it (and numpy)."""

    needs_trajectories: bool = True
    ranks_only: bool = False  # it has no threshold of its own
    parameters: tuple[str, ...] = ()  # all of them numbers


BUILT_IN: Mapping[str, BuiltIn] = {
    "lim": BuiltIn(),
    "linear": BuiltIn(),
    "random": BuiltIn(needs_trajectories=False, ranks_only=True),
    "full": BuiltIn(needs_trajectories=False),
    "passrate": BuiltIn(parameters=("low", "high", "last")),
    "variance": BuiltIn(ranks_only=True),
}

_CHOICE = "(has(arm.selection) ? arm.selection.strategy : self.selection.strategy)"
_THRESHOLD = "(has(arm.selection) ? has(arm.selection.threshold) : has(self.selection.threshold))"
_RANKING = [name for name, strategy in BUILT_IN.items() if strategy.ranks_only]
_MEASURING = [name for name, strategy in BUILT_IN.items() if strategy.needs_trajectories]


def _no_arm(wrong: str, says: str) -> Cel:
    wrong = f"!arm.reuseProbe && {wrong}"
    return Cel(f"!self.arms.exists(arm, {wrong})", f"'${{self.arms.filter(arm, {wrong})[0].name}}' {says}", at="arms")


# By path, what CEL can say of the rules below.
CEL: Mapping[str, tuple[Cel, ...]] = {
    "": (
        _no_arm(
            f"{_CHOICE} in {_RANKING} && !has(arm.size) && !{_THRESHOLD}",
            "has a strategy without a threshold of its own, and no size; write how many prompts it keeps, for example "
            "size: {sameAs: lim}",
        ),
        _no_arm(f"{_CHOICE} == 'full' && has(arm.size)", "has strategy full, which keeps every prompt; remove size"),
        _no_arm(
            f"has(self.selection.scoresFrom) && {_CHOICE} in {_MEASURING} && {_CHOICE} != self.selection.strategy",
            "has a strategy that needs the trajectories of a probe, but selection.scoresFrom gives scores of another "
            "one and no probe runs; remove scoresFrom or this strategy",
        ),
    ),
    "evaluation": (
        Cel(
            f"!has(self.protocol) || self.benchmarks.exists(one, one.name in {list(PAPER_PROTOCOL)})",
            f"paper sets the sampling of {', '.join(PAPER_PROTOCOL)}, but none of these is the name of a benchmark; "
            "name the benchmarks so or remove protocol",
            at="protocol",
        ),
    ),
}


def rules(experiment: Experiment, strategies: Collection[str] = ()) -> Iterator[str]:
    """Each broken rule as "path: message", the message naming every field it joins.

    `strategies` exist besides those that are installed here.
    """
    spec = experiment.spec
    for path, strategy in _strategies(spec):
        name = strategy.strategy
        if name in BUILT_IN:
            yield from _parameter_problems(strategy, BUILT_IN[name], f"{path}.parameters")
        # Looking through all installed packages takes milliseconds.
        elif name not in strategies and name not in (known := known_strategies()):
            yield f"{path}.strategy: {_unknown(name, [*known, *strategies])}"
    for index, arm in enumerate(spec.arms):
        if not arm.reuse_probe:
            yield from _arm_problems(spec, arm, f"spec.arms[{index}]")
    yield from _protocol_problems(spec)


def known_strategies() -> list[str]:
    """Built-in names and those of installed packages, which are not imported for it."""
    installed = {entry.name for entry in entry_points(group=STRATEGY_GROUP)}
    return [*BUILT_IN, *sorted(installed - BUILT_IN.keys())]


def _strategies(spec: Spec) -> Iterator[tuple[str, Strategy]]:
    yield "spec.selection", spec.selection
    for index, arm in enumerate(spec.arms):
        if arm.selection:
            yield f"spec.arms[{index}].selection", arm.selection


def _unknown(name: str, known: list[str]) -> str:
    suggestion = similar(name, known)
    hint = f"did you mean {suggestion}? Otherwise " if suggestion else ""
    return (
        f"there is no strategy {name!r}; {hint}write one of {', '.join(known)}, "
        f"or install the package that brings it (entry point {STRATEGY_GROUP})"
    )


def _parameter_problems(strategy: Strategy, built_in: BuiltIn, path: str) -> Iterator[str]:
    for name, value in strategy.parameters.items():
        if name not in built_in.parameters:
            suggestion = similar(name, built_in.parameters)
            hint = f"did you mean {suggestion}?" if suggestion else f"it has {', '.join(built_in.parameters) or 'none'}"
            yield f"{path}.{name}: strategy {strategy.strategy} has no such parameter; {hint}"
        elif isinstance(value, str | bool):
            yield f"{path}.{name}: is {shown(value)}; write a number"


def _arm_problems(spec: Spec, arm: Arm, path: str) -> Iterator[str]:
    choice = spec.strategy_of(arm)
    name, built_in = choice.strategy, BUILT_IN.get(choice.strategy)
    if built_in is None:
        return
    if built_in.ranks_only and arm.size is None and choice.threshold is None:
        yield (
            f"{path}.size: is missing, and strategy {name} has no threshold of its own; write how many prompts it "
            "keeps, for example size: {sameAs: lim}"
        )
    if name == "full" and arm.size is not None:
        yield f"{path}.size: strategy full keeps every prompt; remove size"
    if spec.selection.scores_from and built_in.needs_trajectories and name != spec.selection.strategy:
        yield (
            f"{path}.selection.strategy: {name} needs the trajectories of a probe, but selection.scoresFrom gives "
            f"scores of {spec.selection.strategy} and no probe runs; remove scoresFrom or this strategy"
        )


def _protocol_problems(spec: Spec) -> Iterator[str]:
    names = {benchmark.name for benchmark in spec.evaluation.benchmarks}
    if spec.evaluation.protocol == "paper" and not names & PAPER_PROTOCOL.keys():
        yield (
            f"spec.evaluation.protocol: paper sets the sampling of {', '.join(PAPER_PROTOCOL)}, but none of these is "
            "the name of a benchmark; name the benchmarks so or remove protocol"
        )
