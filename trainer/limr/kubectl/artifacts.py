"""What stages have stored, read from where the person is: with whose credentials, and through which door."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from limr.errors import LimrError
from limr.kubectl.access import Cluster, Object
from limr.kubectl.errors import Forbidden, NoSuchObject
from limr.kubectl.experiments import Experiment
from limr.kubectl.port_forward import Service, forwarded
from limr.plan import StageState
from limr.store import digest, read_uri

CHOSEN = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")  # a person has chosen credentials
CA_BUNDLE = "AWS_CA_BUNDLE"


class Artifacts:
    """Reads outputs of an experiment's stages, while `opened` holds."""

    def __init__(self, experiment: Experiment, endpoint: str | None) -> None:
        self.experiment = experiment
        self._endpoint = endpoint

    def read(self, stage: str, output: str) -> bytes:
        """Raises LimrError when the stage has not made it, when it cannot be read, or is not what the stage wrote."""
        found = self.experiment.stage(stage)
        if found.state is not StageState.SUCCEEDED or output not in found.outputs:
            words = f" ({found.message})" if found.message else ""
            raise LimrError(f"{self.experiment.name}: {stage} has made no {output} yet: it is {found.state}{words}")
        made = found.outputs[output]
        if not made.uri.startswith("s3://"):
            raise LimrError(
                f"{made.uri}: lies on a volume of the cluster; copy it by `kubectl cp` from a Pod that mounts that"
            )
        data = read_uri(made.uri, self._endpoint)
        if digest.of_bytes(data) != made.digest:
            raise LimrError(f"{made.uri}: holds other bytes than {stage} has written; somebody has changed the file")
        return data


@contextmanager
def opened(cluster: Cluster, experiment: Experiment) -> Iterator[Artifacts]:
    """With the environment's credentials if there are any, else with those of the Secret that the spec names; through
    a forwarded port where the store's endpoint is a Service of the cluster."""
    storage = experiment.manifest["spec"]["storage"]
    endpoint = storage.get("endpoint")
    service = service_of(endpoint) if endpoint else None
    with ExitStack() as stack:
        stack.enter_context(_environment(_credentials(cluster, storage)))
        stack.enter_context(_authority(cluster, storage))
        if service:
            stack.enter_context(_environment({"no_proxy": "127.0.0.1"}))  # the forwarded port is on this machine
            endpoint = stack.enter_context(forwarded(cluster, service))
        yield Artifacts(experiment, endpoint)


def service_of(endpoint: str) -> Service | None:
    """The Service that an endpoint such as http://s3.storage.svc.cluster.local:9000 names; None: it is elsewhere."""
    parts = urlsplit(endpoint)
    name, _, rest = (parts.hostname or "").partition(".")
    namespace, _, domain = rest.partition(".")
    if domain.split(".")[0] != "svc":
        return None
    if parts.scheme == "https":
        raise LimrError(
            f"{endpoint}: is inside the cluster, and its certificate is not one for a forwarded port; read the file "
            "from a Pod, or where the store has an address outside"
        )
    return Service(namespace, name, parts.port or 80)


def _credentials(cluster: Cluster, storage: Object) -> dict[str, str]:
    """Variables to set; none where the environment has its own."""
    secret = storage.get("credentialsSecret")
    if secret is None or any(name in os.environ for name in CHOSEN):
        return {}
    try:
        data = cluster.get("secret", secret).get("data") or {}
    except (Forbidden, NoSuchObject) as error:
        raise LimrError(
            f"{error}. The Secret {secret} has the store's credentials: if you have others, set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    try:
        return {key: base64.b64decode(value).decode() for key, value in data.items() if key.startswith("AWS_")}
    except (binascii.Error, UnicodeDecodeError):
        raise LimrError(f"Secret {secret}: its AWS_… keys are no text; write it anew") from None


@contextmanager
def _authority(cluster: Cluster, storage: Object) -> Iterator[None]:
    """Trusts the certificates that the experiment's Pods trust."""
    name = storage.get("caConfigMap")
    if name is None or CA_BUNDLE in os.environ:
        yield
        return
    data = cluster.get("configmap", name).get("data") or {}
    if "ca.crt" not in data:
        raise LimrError(f"ConfigMap {name}: has no key ca.crt; set {CA_BUNDLE} to a file with the certificate")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ca.crt"
        file.write_text(data["ca.crt"])
        with _environment({CA_BUNDLE: str(file)}):
            yield


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
