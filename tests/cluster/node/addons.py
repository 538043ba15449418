"""What runs in Pods on every test node: DNS, KubeRay and an S3 server."""

from __future__ import annotations

import base64
import secrets
import shutil
import string
import tempfile
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config

from cluster.images import COREDNS_IMAGE, KUBERAY_IMAGE, S3_IMAGE
from cluster.kubectl import Kubectl
from cluster.kuberay import config_folder
from cluster.node.layout import DNS_ADDRESS, Layout

MANIFESTS = Path(__file__).parent / "manifests"
KUBERAY_NAMESPACE = "kuberay"
S3_ADDRESS = "10.96.0.20"
S3_ENDPOINT = "http://s3.s3.svc.cluster.local"  # for Pods; this machine reaches the same at http://S3_ADDRESS
S3_BUCKET = "limr"
S3_ACCESS_KEY = "limr-tests"
ROLLOUT_SECONDS = 120


def install_dns(kubectl: Kubectl) -> None:
    _apply(kubectl, _manifest("dns", image=COREDNS_IMAGE.tag, address=DNS_ADDRESS))


def install_kuberay(kubectl: Kubectl) -> None:
    """As its kustomization says, in a namespace of its own, with the image that is on the node."""
    name, version = KUBERAY_IMAGE.tag.split(":")
    # A limit of a tenth of a core, its default, makes the time that everything takes a matter of luck.
    patch: list[dict[str, Any]] = [
        {"op": "remove", "path": "/spec/template/spec/containers/0/resources/limits/cpu"},
        {"op": "replace", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Never"},
    ]
    kustomization = {
        "namespace": KUBERAY_NAMESPACE,
        "resources": ["config/default"],
        "images": [{"name": "quay.io/kuberay/operator", "newName": name, "newTag": version}],
        "patches": [{"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(patch)}],
    }
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(config_folder(), Path(folder) / "config")
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        manifests = kubectl("kustomize", folder)
    kubectl.apply(_namespace(KUBERAY_NAMESPACE))
    _apply(kubectl, manifests)


def install_s3(kubectl: Kubectl, layout: Layout) -> None:
    """With a bucket, and the Secret `s3` for experiments in the namespace `default`."""
    layout.objects.mkdir(exist_ok=True)
    kubectl.apply(_namespace("s3"))
    for namespace in ("s3", "default"):
        install_credentials(kubectl, namespace)
    manifests = _manifest("s3", image=S3_IMAGE.tag, address=S3_ADDRESS, folder=layout.objects, access=S3_ACCESS_KEY)
    _apply(kubectl, manifests)


def install_credentials(kubectl: Kubectl, namespace: str) -> None:
    """The Secret `s3` that experiments of this namespace name."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}, "stringData": s3_credentials(kubectl)}
    kubectl.apply(secret, namespace=namespace)


def s3_credentials(kubectl: Kubectl) -> dict[str, str]:
    """As environment variables."""
    return {"AWS_ACCESS_KEY_ID": S3_ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": _secret_key(kubectl)}


def make_bucket(kubectl: Kubectl) -> None:
    """Once the server runs."""
    client = s3_client(kubectl)
    if S3_BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=S3_BUCKET)


def s3_client(kubectl: Kubectl) -> Any:
    """For this machine's processes."""
    credentials = s3_credentials(kubectl)
    return boto3.client(
        "s3",
        endpoint_url=f"http://{S3_ADDRESS}",
        region_name="us-east-1",
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )


def wait_for_addons(kubectl: Kubectl) -> None:
    """Raises RuntimeError with what does not run."""
    for namespace, name in (("kube-system", "coredns"), ("s3", "s3"), (KUBERAY_NAMESPACE, "kuberay-operator")):
        timeout = f"--timeout={ROLLOUT_SECONDS}s"
        arguments = ("rollout", "status", f"deployment/{name}", "-n", namespace, timeout)
        done = kubectl.run(*arguments, seconds=ROLLOUT_SECONDS + 10)
        if done.returncode:
            pods = kubectl("describe", "pods", "-n", namespace)
            raise RuntimeError(f"{name} does not run: {done.stderr.strip()}\n{pods[-2000:]}")


def _secret_key(kubectl: Kubectl) -> str:
    """The same for as long as the cluster lives."""
    found = kubectl(
        "get", "secret", "s3", "-n", "s3", "--ignore-not-found", "-o=jsonpath={.data.AWS_SECRET_ACCESS_KEY}"
    )
    return base64.b64decode(found).decode() if found else secrets.token_hex(16)


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _manifest(name: str, **values: object) -> str:
    return string.Template((MANIFESTS / f"{name}.yaml").read_text()).substitute(values)


def _apply(kubectl: Kubectl, manifests: str) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)
