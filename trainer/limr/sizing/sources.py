"""Where a model's config.json is found: in a folder, in S3, in the hub's cache, at the hub."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from limr.errors import LimrError
from limr.sizing.architecture import Architecture, from_config
from limr.spec import Spec
from limr.store import read_uri

HUB_SECONDS = 20.0  # for the hub to answer
LARGEST_HEADER = 100 << 20  # of a safetensors file


class ConfigUnavailable(LimrError):
    """The config.json cannot be had here, which says nothing about the model."""


def read_architecture(spec: Spec, config: Path | None = None, ask_hub: bool = True) -> Architecture:
    """Of the model in `spec`, whose paths are absolute; `config` is a file to read instead.

    Raises ConfigUnavailable when the file is out of reach, LimrError when it describes no model that is known here or
    another one than lies beside it.
    """
    uri = spec.model.uri
    if config is not None:
        return from_config(_parse(_read(config), str(config)), str(config))
    if uri.startswith("s3://"):
        source = f"{uri.rstrip('/')}/config.json"
        return from_config(_parse(read_uri(source, spec.storage.endpoint), source), source)
    if Path(uri).is_absolute() or Path(uri).is_dir():
        file = Path(uri) / "config.json"
        model = from_config(_parse(_read(file), str(file)), str(file))
        _compare(model, Path(uri))
        return model
    file = _from_hub(uri, spec.model.revision, ask_hub)
    return from_config(_parse(_read(file), f"{uri}/config.json"), f"{uri}/config.json")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigUnavailable(f"{file}: cannot be read ({error.strerror}); give the path of a config.json") from None


def _parse(data: bytes, source: str) -> Mapping[str, Any]:
    try:
        config = json.loads(data)
    except ValueError as error:
        raise LimrError(f"spec.model.uri: {source} is not JSON ({error}); write a directory with a model") from None
    if not isinstance(config, dict):
        raise LimrError(f"spec.model.uri: {source} holds no fields; it must be the config.json of a model")
    return config


def _from_hub(name: str, revision: str | None, ask: bool) -> Path:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:
        raise _unavailable(name, "the package huggingface_hub is not installed") from None
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if not ask:
        raise _unavailable(name, "it is not in this machine's cache")
    return _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    """In a thread that is given up at the deadline: a connection may hang in places without one."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    found: list[str] = []
    failed: list[str] = []

    def download() -> None:
        try:
            found.append(hf_hub_download(name, "config.json", revision=revision, etag_timeout=HUB_SECONDS / 2))
        except (OSError, ValueError, HfHubHTTPError) as error:  # not found, no right, offline, no valid name
            failed.append(str(error).strip().splitlines()[0])

    thread = threading.Thread(target=download, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if not found:
        raise _unavailable(name, failed[0] if failed else f"the hub did not answer within {HUB_SECONDS:g} seconds")
    return Path(found[0])


def _unavailable(name: str, why: str) -> ConfigUnavailable:
    return ConfigUnavailable(
        f"spec.model.uri: the config.json of {name} is out of reach ({why}), so memory cannot be planned; "
        "give one by limr plan FILE --config config.json"
    )


# The weights beside it


def _compare(model: Architecture, folder: Path) -> None:
    stored = stored_parameters(folder)
    if stored is not None and abs(stored - model.parameters) > 0.01 * model.parameters:
        raise LimrError(
            f"spec.model.uri: {folder}/config.json describes {model.parameters:,} parameters, but the files beside it "
            f"hold {stored:,}: one of them belongs to another model; download the model again"
        )


def stored_parameters(folder: Path) -> int | None:
    """Elements of all tensors in the folder's safetensors files, a tied output head left out; None without files."""
    shapes: dict[str, int] = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= {name: prod(entry["shape"]) for name, entry in _header(file).items() if name != "__metadata__"}
    if not shapes:
        return None
    tied = json.loads((folder / "config.json").read_bytes()).get("tie_word_embeddings")
    return sum(size for name, size in shapes.items() if not (tied and name == "lm_head.weight"))


def _header(file: Path) -> dict[str, Any]:
    """Names and shapes: 8 bytes with the length of the JSON that follows (github.com/huggingface/safetensors)."""
    try:
        with file.open("rb") as data:
            (length,) = struct.unpack("<Q", data.read(8))
            if length > LARGEST_HEADER:
                raise ValueError(f"its header would have {length} bytes")
            header: dict[str, Any] = json.loads(data.read(length))
            return header
    except (OSError, ValueError, struct.error) as error:
        raise LimrError(f"spec.model.uri: {file} is no safetensors file ({error}); download the model again") from None
