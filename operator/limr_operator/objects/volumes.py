"""The volumes of a Pod, and the variables by which the trainer and its libraries find them."""

from __future__ import annotations

from dataclasses import dataclass

from limr.spec import OBJECT_STORE_SHARE, ModelCache, Place, Scratch, Spec
from limr_operator.objects.common import Manifest

CA_FOLDER = "/etc/limr/ca"
SCRATCH_FOLDER = "/scratch"
CACHE_FOLDER = "/cache"

# Models, and what is compiled at first use: a Pod that finds them starts minutes earlier.
CACHE_VARIABLES = {
    "HF_HOME": f"{CACHE_FOLDER}/huggingface",
    "LIMR_MODEL_CACHE": f"{CACHE_FOLDER}/models",
    "VLLM_CACHE_ROOT": f"{CACHE_FOLDER}/vllm",
    "TRITON_CACHE_DIR": f"{CACHE_FOLDER}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE_FOLDER}/inductor",
    "TORCH_EXTENSIONS_DIR": f"{CACHE_FOLDER}/torch-extensions",
}


@dataclass(frozen=True)
class Volume:
    source: Manifest  # without its name
    name: str
    path: str
    variables: dict[str, str]
    read_only: bool = False

    @property
    def manifest(self) -> Manifest:
        return {"name": self.name, **self.source}

    @property
    def mount(self) -> Manifest:
        return {"name": self.name, "mountPath": self.path, **({"readOnly": True} if self.read_only else {})}


def volumes(spec: Spec, role: str, place: Place, on_ray: bool, loads_models: bool) -> list[Volume]:
    """Of a Pod of `role`; only Pods `on_ray` write checkpoints."""
    found = [
        Volume({"emptyDir": {}}, "tmp", "/tmp", {"HOME": "/tmp"}),  # the root file system may not be written
        Volume({"emptyDir": _shared_memory(place)}, "shm", "/dev/shm", {}),
    ]
    if spec.storage.ca_config_map:
        source = {"configMap": {"name": spec.storage.ca_config_map}}
        found.append(Volume(source, "ca", CA_FOLDER, {"AWS_CA_BUNDLE": f"{CA_FOLDER}/ca.crt"}, read_only=True))
    if on_ray and role != "rollout":  # the driver names a folder in it, which all learners then use
        source = _scratch(spec.cluster.scratch if role == "learner" else Scratch())
        found.append(Volume(source, "scratch", SCRATCH_FOLDER, {"LIMR_SCRATCH": SCRATCH_FOLDER}))
    if loads_models and spec.cluster.model_cache:
        found.append(Volume(_model_cache(spec.cluster.model_cache), "model-cache", CACHE_FOLDER, CACHE_VARIABLES))
    return found


def object_store_bytes(place: Place) -> int | None:
    """None leaves it to Ray: 30 % of what the machine has."""
    return None if place.memory_gib is None else round(place.memory_gib * OBJECT_STORE_SHARE * 2**30)


def _shared_memory(place: Place) -> Manifest:
    size = object_store_bytes(place)
    return {"medium": "Memory", **({"sizeLimit": str(size)} if size else {})}


def _scratch(scratch: Scratch) -> Manifest:
    if scratch.size_gib is None:
        return {"emptyDir": {}}
    size = f"{round(scratch.size_gib * 1024)}Mi"
    if scratch.storage_class is None:
        return {"emptyDir": {"sizeLimit": size}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": scratch.storage_class,
        "resources": {"requests": {"storage": size}},
    }
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def _model_cache(cache: ModelCache) -> Manifest:
    if cache.persistent_volume_claim:
        return {"persistentVolumeClaim": {"claimName": cache.persistent_volume_claim}}
    # Not created where it is missing: it would belong to root, and nothing could be written.
    return {"hostPath": {"path": cache.host_path, "type": "Directory"}}
