"""`spec.cluster.scratch` and `.modelCache`: the volumes of a stage's Pods. On a laptop neither counts."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from limr.cel import Cel
from limr.spec.part import ObjectName, Part, refuse

AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/", max_length=1024)]


class Scratch(Part):
    """A volume of each learner Pod, which ends with the Pod."""

    size_gib: float | None = Field(
        None,
        gt=0,
        description="Its size in GiB: all training state of one Pod's ranks, twice. Default: what the node's disk has.",
    )
    storage_class: ObjectName | None = Field(
        None, description="StorageClass of a volume made for each Pod; default: the node's own disk (emptyDir)."
    )

    cel = (
        Cel(
            "!has(self.storageClass) || has(self.sizeGib)",
            "a volume of a storageClass needs a size; write sizeGib",
            at="sizeGib",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.storage_class is not None and self.size_gib is None:
            refuse(["a volume of a storageClass needs a size; write sizeGib"])
        return self


class ModelCache(Part):
    """One of the two: a claim that all nodes can mount, or a directory that each node has."""

    persistent_volume_claim: ObjectName | None = Field(
        None, description="PersistentVolumeClaim in the experiment's namespace, with access mode ReadWriteMany."
    )
    host_path: AbsolutePath | None = Field(
        None, description="Directory on every node, which user 65532 may write; the restricted Pod standard forbids it."
    )

    cel = (
        Cel(
            "has(self.persistentVolumeClaim) != has(self.hostPath)",
            "modelCache is exactly one of persistentVolumeClaim and hostPath",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.persistent_volume_claim is None) == (self.host_path is None):
            refuse(["modelCache is exactly one of persistentVolumeClaim and hostPath"])
        return self
