"""Models that cannot be loaded, from the hub or from a directory: what a person should do about it, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoConfig, PretrainedConfig

from limr.errors import LimrError

_REFUSED = (401, 403)  # HTTP: no token, or one without the right; the hub also says 401 of models that do not exist


def load_config(model: str, revision: str | None) -> PretrainedConfig:
    """The model's config.json. Raises LimrError when there is none that transformers knows."""
    try:
        return AutoConfig.from_pretrained(model, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise loading_error("model", model, error) from error


def loading_error(what: str, model: str, error: Exception) -> LimrError:
    """`what` (a model, a tokenizer) could not be loaded from `model`, a directory or hub id, because of `error`."""
    if any(isinstance(one, HfHubHTTPError) and one.response.status_code in _REFUSED for one in _chain(error)):
        return LimrError(
            f"spec.model.uri: the hub does not give {model!r} to whoever asks: it does not exist or needs a token; "
            "correct it, or name a Secret with HF_TOKEN in spec.model.tokenSecret (on a laptop, set the variable), "
            "whose account has accepted the model's terms"
        )
    place = "directory" if Path(model).exists() else "hub id"
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return LimrError(
        f"spec.model.uri: no {what} could be loaded from the {place} {model!r}: {first_line}; "
        "it must hold a transformers model (config.json, *.safetensors, tokenizer files)"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
