"""`spec.tracking`: where the numbers of training steps are sent besides the store."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from limr.cel import Cel
from limr.spec.part import NonEmpty, ObjectName, Part, refuse

# Without user and password, which belong into a Secret.
ServerUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^@\s]+$", max_length=2048)]


class TrackerKind(StrEnum):
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


_OF_WANDB = "project, entity, mode and baseUrl are fields of kind wandb; remove them or correct kind"
_OF_MLFLOW = "trackingUri and experiment are fields of kind mlflow; remove them or correct kind"
_NO_SERVER = "kind mlflow needs the address of its server; write trackingUri, for example http://mlflow:5000"
_NO_LOGIN = "kind tensorboard writes files and logs in nowhere; remove credentialsSecret or correct kind"


class Tracker(Part):
    """One experiment tracker. Each kind stands at most once; what it is sent, and when, is in docs/tracking.md."""

    kind: TrackerKind = Field(description="What it is.")
    project: NonEmpty | None = Field(None, description="wandb: project of the runs. Default: limr.")
    entity: NonEmpty | None = Field(None, description="wandb: user or team. Default: that of the API key.")
    mode: Literal["online", "offline"] | None = Field(
        None, description="wandb: offline only writes a folder into the store, for `wandb sync`. Default: online."
    )
    base_url: ServerUrl | None = Field(
        None, description="wandb: address of a server of one's own. Default: https://api.wandb.ai."
    )
    tracking_uri: ServerUrl | None = Field(None, description="mlflow: address of the tracking server; required.")
    experiment: NonEmpty | None = Field(
        None, description="mlflow: experiment of the runs. Default: this resource's name."
    )
    credentials_secret: ObjectName | None = Field(
        None,
        description="Secret with WANDB_API_KEY, or with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN. On a laptop the environment counts.",
    )

    cel = (
        Cel(
            "self.kind == 'wandb' || !(has(self.project) || has(self.entity) || has(self.mode) || has(self.baseUrl))",
            _OF_WANDB,
        ),
        Cel("self.kind == 'mlflow' || !(has(self.trackingUri) || has(self.experiment))", _OF_MLFLOW),
        Cel("self.kind != 'mlflow' || has(self.trackingUri)", _NO_SERVER),
        Cel("self.kind != 'tensorboard' || !has(self.credentialsSecret)", _NO_LOGIN),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.kind is not TrackerKind.WANDB and (self.project or self.entity or self.mode or self.base_url):
            problems.append(_OF_WANDB)
        if self.kind is not TrackerKind.MLFLOW and (self.tracking_uri or self.experiment):
            problems.append(_OF_MLFLOW)
        if self.kind is TrackerKind.MLFLOW and not self.tracking_uri:
            problems.append(_NO_SERVER)
        if self.kind is TrackerKind.TENSORBOARD and self.credentials_secret:
            problems.append(_NO_LOGIN)
        refuse(problems)
        return self

    @property
    def server(self) -> str | None:
        """URL of the server, if the spec names one."""
        return self.tracking_uri or self.base_url
