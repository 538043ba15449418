"""A stage's manifest: the only truth about what it has done. How it changes, without I/O; the journal writes it.

A step is in it if and only if a checkpoint (or the stage's end) that comes after it is too, so whoever resumes at the
last checkpoint redoes exactly the steps that the manifest does not name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pydantic import ConfigDict, Field, ValidationError

from limr.errors import LimrError
from limr.stage import Document, Ledger, Output
from limr.store.base import Store
from limr.store.digest import FileRecord
from limr.store.layout import MANIFEST, in_stage


class StepRecord(Document):
    """One finished step. `path` is relative to the stage's folder, `digest` that of the Parquet file's bytes."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    step: int = Field(ge=1)
    epoch: int = Field(ge=1)
    attempt: int = Field(ge=1)
    path: str
    rows: int
    digest: str
    texts: FileRecord | None = None
    metrics: Mapping[str, float] = {}


class CheckpointRecord(Document):
    """What training goes on from after `step`. `digest` is that of `files`, whose paths are relative to `path`."""

    step: int = Field(ge=1)
    attempt: int = Field(ge=1)
    path: str
    digest: str
    files: tuple[FileRecord, ...]
    ledger: Ledger  # of the stage up to this step


class Manifest(Document):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    stage: str
    attempt: int = Field(ge=1)
    writer: str  # token of the process that may move this manifest on
    claims: int = 1  # rises with every claim, so that no two claims have the same bytes
    steps: tuple[StepRecord, ...] = ()
    checkpoints: tuple[CheckpointRecord, ...] = ()
    ledger: Ledger = Ledger()  # of everything named here
    outputs: Mapping[str, Output] = {}
    finished: bool = False

    @property
    def last_step(self) -> int:
        return self.steps[-1].step if self.steps else 0

    def claimed(self, attempt: int, writer: str) -> Manifest:
        """The manifest with which a new writer begins: at the last checkpoint."""
        changes = {"attempt": attempt, "writer": writer, "claims": self.claims + 1}
        return self.rewound(len(self.checkpoints)).model_copy(update=changes)

    def rewound(self, checkpoints: int) -> Manifest:
        """Only the first so many checkpoints and the steps before the last of them."""
        kept = self.checkpoints[:checkpoints]
        resume_step, ledger = (kept[-1].step, kept[-1].ledger) if kept else (0, Ledger())
        steps = tuple(record for record in self.steps if record.step <= resume_step)
        return self.model_copy(update={"steps": steps, "checkpoints": kept, "ledger": ledger})

    def advanced(
        self, steps: Iterable[StepRecord], checkpoint: CheckpointRecord | None, ledger: Ledger, keep: int
    ) -> Manifest:
        """Names further steps, and a checkpoint after them; of all checkpoints the last `keep` stay."""
        checkpoints = (*self.checkpoints, *([checkpoint] if checkpoint else []))[-keep:]
        changes = {"steps": (*self.steps, *steps), "checkpoints": checkpoints, "ledger": ledger}
        return self.model_copy(update=changes)

    def ended(self, outputs: Mapping[str, Output]) -> Manifest:
        return self.model_copy(update={"outputs": dict(outputs), "finished": True})

    def files(self) -> set[str]:
        """Every path below the stage's folder that this manifest names."""
        texts = {record.texts.path for record in self.steps if record.texts}
        checkpoints = {f"{record.path}/{file.path}" for record in self.checkpoints for file in record.files}
        return {record.path for record in self.steps} | texts | checkpoints


def rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """To 6 significant digits: a manifest holds the metrics of thousands of steps."""
    return {name: float(f"{value:.6g}") if math.isfinite(value) else float(value) for name, value in metrics.items()}


def parse(data: bytes, where: str) -> Manifest:
    """Raises LimrError when `data` is no manifest of this version."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"])) or "the file"
        raise LimrError(
            f"{where}: is no readable manifest ({field}: {problem['msg']}); restore the file, or remove the stage's "
            "folder to begin it anew"
        ) from None


def read_manifest(store: Store, stage: str) -> Manifest:
    """The manifest of the stage in folder `stage`. Raises NotFound when the stage has not begun."""
    path = in_stage(stage, MANIFEST)
    return parse(store.get(path), f"{store.uri}/{path}")
