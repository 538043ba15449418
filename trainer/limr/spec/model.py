"""`spec.model`: what every training starts from."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from limr.cel import Cel
from limr.spec.part import NonEmpty, ObjectName, Part, Text, Uri, refuse


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
    token_secret: ObjectName | None = Field(
        None,
        description="Secret with the key HF_TOKEN, for hub models that ask for one. On a laptop the environment's "
        "HF_TOKEN counts.",
    )
    dtype: Literal["bfloat16", "float32"] = Field("bfloat16", description="Precision of weights in every process.")
    prompt: PromptFormat = Field(PromptFormat(), description="How a question becomes the text that it continues.")
