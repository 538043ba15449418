"""Which library each tracker needs; light, so that it can be asked for before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from limr.spec import Spec, TrackerKind

LIBRARIES = {TrackerKind.TENSORBOARD: "tensorboardX", TrackerKind.WANDB: "wandb", TrackerKind.MLFLOW: "mlflow"}


def missing_libraries(spec: Spec) -> Iterator[tuple[str, str]]:
    """Path and sentence of each tracker that this Python cannot speak to."""
    for index, tracker in enumerate(spec.tracking):
        library = LIBRARIES[tracker.kind]
        if find_spec(library) is None:
            yield (
                f"spec.tracking[{index}].kind",
                f"{tracker.kind} needs the package {library}, which is not installed; install limr with the extra "
                "tracking, or remove the tracker",
            )
