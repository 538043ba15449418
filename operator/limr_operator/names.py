"""Groups, labels and annotations: every name by which the operator knows its objects."""

from __future__ import annotations

GROUP, VERSION, PLURAL = "limr.dev", "v1alpha1", "limrexperiments"
API_VERSION, KIND = f"{GROUP}/{VERSION}", "LIMRExperiment"

FIELD_MANAGER = "limr-operator"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "limr"
EXPERIMENT = f"{GROUP}/experiment"
STAGE = f"{GROUP}/stage"
ATTEMPT = f"{GROUP}/attempt"
ROLE = f"{GROUP}/role"
PROVENANCE = f"{GROUP}/provenance"
SPEC_DIGEST = f"{GROUP}/spec-digest"

RAY_CLUSTER = "ray.io/cluster"  # KubeRay's: the name of a RayCluster
QUEUE = "kueue.x-k8s.io/queue-name"

OURS = f"{MANAGED_BY}={MANAGER}"  # selects everything that an operator of ours has made
SHARED = f"{OURS},!{STAGE}"  # and of that what serves one stage after another; KubeRay's RayClusters of RayJobs do not
