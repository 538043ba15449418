"""The strategies there are: our own, and those that installed packages offer as entry points `limr.strategies`."""

from __future__ import annotations

from importlib.metadata import entry_points

from limr.errors import LimrError
from limr.selection.full import FULL
from limr.selection.lim import LIM
from limr.selection.linear import LINEAR
from limr.selection.passrate import PASSRATE
from limr.selection.random import RANDOM
from limr.selection.strategy import Strategy
from limr.selection.suggest import suggestion
from limr.selection.variance import VARIANCE

GROUP = "limr.strategies"
OWN = {strategy.name: strategy for strategy in (LIM, LINEAR, RANDOM, FULL, PASSRATE, VARIANCE)}


def find(name: str) -> Strategy:
    """The strategy called `name`; our own come first. Raises LimrError, with the nearest name, when there is none."""
    if name in OWN:
        return OWN[name]
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        known = [*OWN, *installed]
        raise LimrError(f"there is no strategy {name!r}{suggestion(name, known)} (strategies: {', '.join(known)})")
    entry = installed[name]
    try:
        strategy = entry.load()
    except (ImportError, AttributeError) as error:
        raise LimrError(f"strategy {name!r} of entry point {entry.value!r} cannot be loaded: {error}") from error
    if not isinstance(strategy, Strategy):
        raise LimrError(
            f"strategy {name!r}: {entry.value!r} is no limr.selection.strategy.Strategy; correct its package"
        )
    return strategy
