"""The manifests of an attempt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from limr.config_map import INPUT
from limr.plan import MAX_ATTEMPTS, Child, child_name
from limr.spec import Experiment
from limr.stage import Output, StageInput, StageKind, StageRef
from limr.stage_log import CONTAINER_OUTPUT
from limr_operator import names
from limr_operator.objects import Attempt, Defaults, Manifest, manifests, spec_digest
from limr_operator.objects.cluster import RAY_VERSION
from limr_operator.objects.overlay import merged
from limr_operator.objects.volumes import object_store_bytes

ROOT = Path(__file__).parents[2]
DEFAULTS = Defaults("trainer:1")


def attempt(kind: StageKind = StageKind.PROBE, number: int = 1, **spec: Any) -> Attempt:
    experiment = Experiment.model_validate(
        {
            "metadata": {"name": "demo", "namespace": "rl", "uid": "u-1"},
            "spec": {
                "model": {"uri": "m"},
                "dataset": {"uri": "s3://b/d.json"},
                "storage": {"uri": "s3://b/x", "endpoint": "http://s3.example:9000", "credentialsSecret": "keys"},
                **spec,
            },
        }
    )
    refs = {
        StageKind.PREFLIGHT: StageRef(name="preflight", kind=kind),
        StageKind.PROBE: StageRef(name="probe", kind=kind, seed=1),
        StageKind.SELECTION: StageRef(name="select-lim", kind=kind, arm="lim"),
        StageKind.TRAINING: StageRef(name="train-lim-s1", kind=kind, arm="lim", seed=1),
        StageKind.EVALUATION: StageRef(name="evaluate", kind=kind),
    }
    inputs = {"select-lim": {"scores": Output(uri="s3://b/x/scores.parquet", digest="sha256:1")}}
    return Attempt(
        StageInput(experiment=experiment, stage=refs[kind], attempt=number, root=experiment.root, inputs=inputs)
    )


def shared(kind: StageKind = StageKind.PROBE, within: str = "", **spec: Any) -> Attempt:
    schedule = {"reuseCluster": True, **spec.pop("schedule", {})}
    return Attempt(attempt(kind, schedule=schedule, **spec).stage_input, within)


def made(attempt: Attempt) -> dict[str, Manifest]:
    return {manifest["kind"]: manifest for manifest in manifests(attempt, DEFAULTS)}


def templates(attempt: Attempt) -> dict[str, Manifest]:
    """Every Pod template, by role."""
    found = made(attempt)
    if "Job" in found:
        return {"driver": found["Job"]["spec"]["template"]}
    cluster = found["RayCluster"]["spec"] if "RayCluster" in found else found["RayJob"]["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"driver": cluster["headGroupSpec"]["template"], **groups}


@pytest.mark.parametrize("kind", list(StageKind)[:-1])
def test_everything_belongs_to_the_experiment_and_is_labelled(kind: StageKind) -> None:
    for manifest in manifests(attempt(kind), DEFAULTS):
        metadata = manifest["metadata"]
        assert metadata["namespace"] == "rl"
        assert metadata["name"].startswith("demo--")
        assert len(metadata["name"]) <= 47
        assert metadata["ownerReferences"][0]["uid"] == "u-1"
        assert metadata["labels"][names.MANAGED_BY] == names.MANAGER


def test_a_stage_may_patch_the_config_map_of_its_attempt_and_nothing_else() -> None:
    objects = made(attempt(number=3))
    assert objects["Role"]["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["demo--probe-3"], "verbs": ["patch"]}
    ]
    assert objects["ConfigMap"]["metadata"]["name"] == "demo--probe-3"
    assert StageInput.model_validate_json(objects["ConfigMap"]["data"][INPUT]).attempt == 3
    assert objects["RoleBinding"]["subjects"][0]["name"] == objects["ServiceAccount"]["metadata"]["name"]


def test_a_service_account_with_a_cloud_role_is_used_and_not_made() -> None:
    objects = made(attempt(storage={"uri": "s3://b/x", "serviceAccountName": "rl-s3"}))
    assert "ServiceAccount" not in objects
    assert objects["RoleBinding"]["subjects"][0]["name"] == "rl-s3"


@pytest.mark.parametrize("one", [attempt(), attempt(StageKind.SELECTION), shared()])
def test_every_pod_fits_the_restricted_standard(one: Attempt) -> None:
    for role, template in templates(one).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is (role == "driver")
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_roles_of_a_ray_job() -> None:
    roles = {
        "learner": {"replicas": 2, "gpus": 1, "memoryGib": 10, "nodeSelector": {"pool": "h100"}},
        "rollout": {"replicas": 3, "gpus": 1, "cpus": 2.5, "tolerations": [{"key": "spot", "operator": "Exists"}]},
        "driver": {"cpus": 0.1, "memoryGib": 2},
    }
    job = made(attempt(cluster=roles, schedule={"queue": "research", "priorityClass": "high"}))["RayJob"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    cluster = job["spec"]["rayClusterSpec"]
    learner, rollout = cluster["workerGroupSpecs"]
    assert (learner["replicas"], learner["minReplicas"], learner["maxReplicas"]) == (2, 2, 2)
    assert json.loads(json.loads(learner["rayStartParams"]["resources"])) == {"limr_learner": 1}
    pod = learner["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "h100"}
    assert pod["priorityClassName"] == "high"
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "1000m", "memory": "10240Mi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "10240Mi", "nvidia.com/gpu": "1"},
    }
    assert rollout["template"]["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "2500m", "nvidia.com/gpu": "1"},
        "limits": {"nvidia.com/gpu": "1"},
    }
    assert rollout["template"]["spec"]["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    store = object_store_bytes(attempt(cluster=roles).stage_input.experiment.spec.cluster.driver)
    assert cluster["headGroupSpec"]["rayStartParams"]["object-store-memory"] == str(store)
    assert cluster["authOptions"] == {"mode": "token"}


def groups(one: Attempt) -> dict[str, Manifest]:
    """Ray worker groups, by name."""
    return {group["groupName"]: group for group in made(one)["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]}


def offered(group: Manifest) -> tuple[int, str, Any]:
    """Pods, and of each: GPUs and what it tells Ray that it offers beside them."""
    start = group["rayStartParams"]
    return group["replicas"], start["num-gpus"], json.loads(json.loads(start["resources"]))


def test_pods_with_eight_gpus_offer_a_place_for_each_rank_and_engine() -> None:
    found = groups(
        attempt(
            cluster={
                "learner": {"replicas": 2, "gpus": 8},
                "rollout": {"replicas": 3, "gpus": 8, "tensorParallel": 4},
            }
        )
    )
    assert offered(found["learner"]) == (2, "8", {"limr_learner": 8})
    assert offered(found["rollout"]) == (3, "8", {"limr_rollout": 2})
    for group in found.values():
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": "8"}


def test_pods_without_gpus_offer_a_place_for_each_process() -> None:
    found = groups(
        attempt(
            cluster={
                "learner": {"gpus": 0, "processes": 2},
                "rollout": {"gpus": 0, "processes": 4, "tensorParallel": 2},
            }
        )
    )
    assert offered(found["learner"]) == (1, "0", {"limr_learner": 2})
    assert offered(found["rollout"]) == (1, "0", {"limr_rollout": 2})
    for group in found.values():
        assert "limits" not in group["template"]["spec"]["containers"][0]["resources"]


def near(template: Manifest) -> list[tuple[int, str]]:
    """Weights and keys of the Pod's preferred affinity to Pods of its own group."""
    terms = template["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    for term in terms:
        assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == template["metadata"]["labels"]
    return [(term["weight"], term["podAffinityTerm"]["topologyKey"]) for term in terms]


@pytest.mark.parametrize("make", [attempt, shared])
def test_learners_prefer_to_be_near_each_other(make: Callable[..., Attempt]) -> None:
    found = templates(make(cluster={"learner": {"replicas": 2}}))
    assert near(found["learner"]) == [(100, "kubernetes.io/hostname"), (50, "topology.kubernetes.io/zone")]
    assert "affinity" not in found["rollout"]["spec"]
    assert "affinity" not in templates(make())["learner"]["spec"], "one Pod has nobody to be near to"


def test_learners_prefer_one_value_of_the_topology_key() -> None:
    node = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    learner = {"replicas": 2, "topologyKey": "example.com/rack", "affinity": node}
    template = templates(attempt(cluster={"learner": learner}))["learner"]
    assert near(template) == [(100, "example.com/rack")]
    assert template["spec"]["affinity"]["nodeAffinity"] == node["nodeAffinity"]
    assert "annotations" not in template["metadata"]
    amended = {**learner, "affinity": {"podAffinity": {}}}
    assert templates(attempt(cluster={"learner": amended}))["learner"]["spec"]["affinity"] == {"podAffinity": {}}


def test_kueue_is_asked_for_the_topology_that_is_named() -> None:
    def annotations(**learner: Any) -> Any:
        one = attempt(cluster={"learner": {"replicas": 2, **learner}}, schedule={"queue": "research"})
        return templates(one)["learner"]["metadata"].get("annotations")

    assert annotations(topologyKey="example.com/rack") == {
        "kueue.x-k8s.io/podset-preferred-topology": "example.com/rack"
    }
    assert annotations() is None, "Kueue admits nothing whose topology it does not know"


def volume(template: Manifest, name: str) -> tuple[Manifest, str, dict[str, str]]:
    """The volume's source, where it is mounted, and the variables that point there or below."""
    (container,) = template["spec"]["containers"]
    (source,) = [entry for entry in template["spec"]["volumes"] if entry["name"] == name]
    (path,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == name]
    variables = {entry["name"]: entry["value"] for entry in container["env"] if entry.get("value", "").startswith(path)}
    return {key: value for key, value in source.items() if key != "name"}, path, variables


@pytest.mark.parametrize(
    ("scratch", "source"),
    [
        ({}, {"emptyDir": {}}),
        ({"sizeGib": 0.5}, {"emptyDir": {"sizeLimit": "512Mi"}}),
        (
            {"sizeGib": 400, "storageClass": "nvme"},
            {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "storageClassName": "nvme",
                            "resources": {"requests": {"storage": "409600Mi"}},
                        }
                    }
                }
            },
        ),
    ],
)
def test_learners_have_the_scratch_volume(scratch: dict[str, Any], source: Manifest) -> None:
    found = templates(attempt(cluster={"scratch": scratch}))
    assert volume(found["learner"], "scratch") == (source, "/scratch", {"LIMR_SCRATCH": "/scratch"})
    assert volume(found["driver"], "scratch") == ({"emptyDir": {}}, "/scratch", {"LIMR_SCRATCH": "/scratch"})
    assert "scratch" not in {entry["name"] for entry in found["rollout"]["spec"]["volumes"]}


@pytest.mark.parametrize(
    ("cache", "source"),
    [
        ({"persistentVolumeClaim": "models"}, {"persistentVolumeClaim": {"claimName": "models"}}),
        ({"hostPath": "/mnt/models"}, {"hostPath": {"path": "/mnt/models", "type": "Directory"}}),
    ],
)
def test_pods_with_models_share_the_cache(cache: dict[str, str], source: Manifest) -> None:
    for template in templates(attempt(cluster={"modelCache": cache})).values():
        found, path, variables = volume(template, "model-cache")
        assert (found, path) == (source, "/cache")
        assert {"HF_HOME", "LIMR_MODEL_CACHE", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR"} < variables.keys()
        assert {"TORCH_EXTENSIONS_DIR", "TORCHINDUCTOR_CACHE_DIR"} < variables.keys()
        assert len(set(variables.values())) == len(variables)
    (template,) = templates(attempt(StageKind.SELECTION, cluster={"modelCache": cache})).values()
    assert "model-cache" not in {entry["name"] for entry in template["spec"]["volumes"]}


def test_pods_that_load_models_have_the_token_of_the_hub() -> None:
    model = {"uri": "org/gated", "tokenSecret": "hub"}
    expected = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}}
    preflight = templates(attempt(StageKind.PREFLIGHT, model=model, cluster={"modelCache": {"hostPath": "/models"}}))
    assert "model-cache" in {entry["name"] for entry in preflight["driver"]["spec"]["volumes"]}
    for template in (*templates(attempt(model=model)).values(), *preflight.values()):
        assert expected in template["spec"]["containers"][0]["env"]
    (template,) = templates(attempt(StageKind.SELECTION, model=model)).values()
    assert expected not in template["spec"]["containers"][0]["env"]


def test_the_overlay_for_rdma_gives_what_nccl_needs() -> None:
    """It is the one of the page on GPU pools."""
    page = (ROOT / "docs/gpu-pools.md").read_text("utf-8")
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "IPC_LOCK" in text]
    cluster = yaml.safe_load(block)["cluster"]
    template = templates(attempt(cluster=cluster))["learner"]
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8", "rdma/hca_shared_devices_a": "1"}
    assert container["resources"]["requests"]["nvidia.com/gpu"] == "8"
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert {"NCCL_IB_HCA", "NCCL_SOCKET_IFNAME", "LIMR_SCRATCH", "LIMR_PLACEMENT"} < variables.keys()


def test_the_log_of_a_ray_job_is_also_the_output_of_its_head() -> None:
    """What a Job's process prints is its container's output anyway."""
    told = {
        (kind, role): CONTAINER_OUTPUT in (entry["name"] for entry in template["spec"]["containers"][0]["env"])
        for kind in (StageKind.PROBE, StageKind.SELECTION)
        for role, template in templates(attempt(kind)).items()
    }
    assert [place for place, is_told in told.items() if is_told] == [(StageKind.PROBE, "driver")]


def test_the_head_serves_metrics_that_may_be_scraped() -> None:
    objects = made(attempt())
    ray_job = objects["RayJob"]["spec"]
    assert ray_job["entrypoint"].endswith("--config-map rl/demo--probe-1 --metrics-port 9464")
    (head,) = ray_job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in head["ports"]}
    # KubeRay's Service has these by itself only while the container names no port.
    assert {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}.items() < ports.items()
    assert ports["limr-metrics"] == 9464
    scraped = objects["NetworkPolicy"]["spec"]["ingress"][-1]
    assert {port["port"] for port in scraped["ports"]} == {8080, 9464}
    assert scraped["from"] == [{"namespaceSelector": {}}]


TRACKING = [
    {"kind": "wandb", "baseUrl": "https://wandb.example:8443", "credentialsSecret": "trackers"},
    {"kind": "mlflow", "trackingUri": "http://mlflow:5000", "credentialsSecret": "trackers"},
]


def test_trackers_are_told_by_the_driver_which_alone_has_their_keys() -> None:
    """Those of the store come last, which wins."""
    for role, template in templates(attempt(tracking=TRACKING)).items():
        (container,) = template["spec"]["containers"]
        names = [source["secretRef"]["name"] for source in container["envFrom"]]
        assert names == (["trackers", "keys"] if role == "driver" else ["keys"])
    (container,) = templates(attempt(StageKind.SELECTION, tracking=TRACKING))["driver"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_the_ports_of_trackers_are_open() -> None:
    egress = made(attempt(tracking=TRACKING))["NetworkPolicy"]["spec"]["egress"][-1]["ports"]
    assert {5000, 8443, 9000, 443} <= {port["port"] for port in egress}


def test_a_job_serves_none() -> None:
    (container,) = templates(attempt(StageKind.SELECTION))["driver"]["spec"]["containers"]
    assert "ports" not in container
    assert "--metrics-port" not in container["command"]


def test_an_evaluation_has_no_learners() -> None:
    assert templates(attempt(StageKind.EVALUATION)).keys() == {"driver", "rollout"}


def test_a_training_says_where_it_comes_from() -> None:
    job = made(attempt(StageKind.TRAINING))["RayJob"]
    assert json.loads(job["metadata"]["annotations"][names.PROVENANCE]) == {
        "experiment": "demo",
        "parent": "demo--select-lim",
        "strategy": "lim",
        "threshold": None,
        "seed": 1,
        "outputs": {"scores": "sha256:1"},
    }


def test_a_pod_template_is_amended_but_keeps_our_labels() -> None:
    overlay = {
        "metadata": {"labels": {"team": "rl", names.STAGE: "other"}, "annotations": {"a": "b"}},
        "spec": {
            "containers": [{"name": "limr", "env": [{"name": "HF_TOKEN", "value": "x"}]}, {"name": "side"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }
    template = templates(attempt(cluster={"driver": {"podTemplate": overlay}}))["driver"]
    assert template["metadata"]["labels"] | {"team": "rl", names.STAGE: "probe"} == template["metadata"]["labels"]
    assert [container["name"] for container in template["spec"]["containers"]] == ["limr", "side"]
    variables = [entry["name"] for entry in template["spec"]["containers"][0]["env"]]
    assert "HF_TOKEN" in variables
    assert "HOME" in variables
    assert [volume["name"] for volume in template["spec"]["volumes"]] == ["tmp", "shm", "scratch", "data"]


def test_overlay_rules() -> None:
    assert merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": None, "e": 4}}) == {"a": 1, "b": {"d": 3, "e": 4}}
    assert merged({"tolerations": [1]}, {"tolerations": [2]}) == {"tolerations": [2]}
    base = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    assert merged(base, {"env": [{"name": "B", "value": "3"}, {"name": "C"}]}) == {
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C"}]
    }
    assert base == {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}


@pytest.mark.parametrize("devices", ["cpu", "gpu"])
def test_the_ray_version_is_that_of_the_trainer_image(devices: str) -> None:
    assert RAY_VERSION in {pin.split("==")[1] for pin in pins(f"trainer-{devices}") if re.match(r"ray[\[=]", pin)}


def test_the_images_have_what_was_tested() -> None:
    assert pins("trainer-cpu") | pins("operator") <= pins("cpu")


def pins(name: str) -> set[str]:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    return set(re.findall(r"^[\w.\[\],-]+==[^\s;]+", text, re.MULTILINE))


def test_an_attempt_in_a_shared_cluster_makes_the_cluster_and_submits_to_it() -> None:
    objects = made(shared(schedule={"queue": "research", "priorityClass": "high"}))
    assert list(objects)[-2:] == ["RayCluster", "RayJob"]
    assert objects["RayJob"]["spec"] == {
        "submissionMode": "HTTPMode",
        "entrypoint": "python -m limr.stage_log --stage rl/demo/probe/1 --log-format json --log-level INFO -- "
        "python -m limr.stage_main --config-map rl/demo--probe-1 --metrics-port 9464",
        "backoffLimit": 0,
        "clusterSelector": {"ray.io/cluster": "demo--probe-1"},
    }
    assert "kueue.x-k8s.io/queue-name" not in objects["RayJob"]["metadata"]["labels"]
    assert objects["RayJob"]["metadata"]["labels"][names.ATTEMPT] == "1"
    cluster = objects["RayCluster"]
    assert cluster["metadata"]["name"] == "demo--probe-1"
    assert cluster["metadata"]["labels"] == {
        names.MANAGED_BY: names.MANAGER,
        names.EXPERIMENT: "demo",
        "kueue.x-k8s.io/queue-name": "research",
    }
    assert [group["groupName"] for group in cluster["spec"]["workerGroupSpecs"]] == ["learner", "rollout"]
    for role, template in templates(shared(schedule={"priorityClass": "high"})).items():
        assert template["spec"]["priorityClassName"] == "high"
        assert template["spec"]["serviceAccountName"] == "demo--cluster"
        labels = template["metadata"]["labels"]
        assert labels == {names.MANAGED_BY: names.MANAGER, names.EXPERIMENT: "demo", names.ROLE: role}


def test_a_cluster_that_is_there_is_left_as_it_is() -> None:
    """Kueue has written into it."""
    objects = made(shared(StageKind.EVALUATION, within="demo--probe-1"))
    assert "RayCluster" not in objects
    assert objects["RayJob"]["spec"]["clusterSelector"] == {"ray.io/cluster": "demo--probe-1"}


def test_a_shared_account_may_patch_the_config_map_of_the_attempt_that_began_last() -> None:
    objects = made(shared(StageKind.TRAINING, within="demo--probe-1"))
    assert objects["Role"]["metadata"]["name"] == "demo--cluster"
    assert objects["Role"]["rules"][0]["resourceNames"] == ["demo--train-lim-s1-1"]
    assert objects["NetworkPolicy"]["spec"]["podSelector"] == {
        "matchLabels": {names.MANAGED_BY: names.MANAGER, names.EXPERIMENT: "demo"},
        "matchExpressions": [{"key": names.STAGE, "operator": "DoesNotExist"}],
    }


def test_stages_without_engines_share_nothing() -> None:
    alone, beside = made(attempt(StageKind.SELECTION)), made(shared(StageKind.SELECTION))
    del alone["ConfigMap"], beside["ConfigMap"]  # the spec is in it
    assert alone == beside


def test_the_digest_tells_whether_a_cluster_is_still_what_the_spec_asks_for() -> None:
    def digest(image: str = "trainer:1", **spec: Any) -> str:
        return spec_digest(shared(**spec).experiment, Defaults(image))

    same = digest()
    assert made(shared())["RayCluster"]["metadata"]["annotations"] == {names.SPEC_DIGEST: same}
    assert digest(limits={"attempts": 9}, checkpoint={"everySteps": 5}) == same
    assert digest("trainer:2") != same
    assert digest(schedule={"queue": "other"}) != same
    assert digest(cluster={"rollout": {"replicas": 2}}) != same
    assert digest(storage={"uri": "s3://b/x", "credentialsSecret": "others"}) != same


def test_the_longest_names_fit() -> None:
    """KubeRay takes 53 characters, and cuts what it derives from more than 50."""
    longest = child_name("e" * 20, Child("train-" + "a" * 10 + "-s999", MAX_ATTEMPTS))
    assert len(longest) <= 47
