"""`spec.dataset` and `spec.storage`: where the prompts come from, and where everything goes."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    Field,
    StringConstraints,
    model_validator,
)

from limr.cel import Cel
from limr.spec.part import NonEmpty, ObjectName, Part, Uri, refuse


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
