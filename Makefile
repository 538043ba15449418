# Everything a checkout needs: `make demo` and `make test` install it themselves.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:

CACHE  := $(or $(LIMR_CACHE),$(HOME)/.cache/limr)
PYTHON := $(or $(PYTHON),python3.11)
UV_VERSION := 0.13.9
UV  := $(CACHE)/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin
INSTALLED := .venv/.installed

CLUSTER := PYTHONPATH=tests $(BIN)/python -m cluster
CHART := PYTHONPATH=tests $(BIN)/python -m chart
# The test cluster: `node` is one node made of namespaces of this machine; `kind` needs Docker, kind, kubectl and helm.
PROVIDER := node

# Two processes run tests side by side; tests/conftest.py says which runs what.
IN_TWO := --numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: install demo test s3-server control-plane unit integration nightly e2e chaos lint bench bench-operator lock clean
.PHONY: chart-tools manifests chart-docs cluster-up cluster-down cluster-status images gpu-image

install: $(INSTALLED)

$(UV):
	$(PYTHON) -m venv $(CACHE)/uv-$(UV_VERSION) || { echo "make: $(PYTHON) with its venv module is needed (Debian: apt install python3.11-venv)" >&2; exit 1; }
	$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

# Packages come from uv's cache as hard links, so a second checkout installs in seconds.
$(INSTALLED): $(UV) requirements/cpu.txt pyproject.toml
	$(UV) venv --quiet --clear --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/cpu.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

demo: $(INSTALLED)
	$(BIN)/limr run examples/arithmetic/experiment.yaml

test: lint s3-server control-plane chart-tools
	$(BIN)/pytest $(IN_TWO) tests/unit tests/integration

# Built from its Go module into the cache at the first use, which takes minutes.
s3-server: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m servers.s3_server

# As above: etcd, and Kubernetes' API server and controllers.
control-plane: $(INSTALLED)
	$(CLUSTER).binaries --control-plane

# As above: Helm, helm-docs, kubeconform, and Debian's Prometheus.
chart-tools: $(INSTALLED)
	$(CHART)

# What of manifests/ is made from the chart.
manifests: $(INSTALLED)
	$(CHART).manifests

# The chart's README, from the comments in values.yaml, and the tables of docs/metrics.md.
chart-docs: $(INSTALLED)
	$(CHART).readme
	$(CHART).metrics_page

# The real thing on the test node, about 40 minutes; fails without `make cluster-up images` (needs root).
e2e: $(INSTALLED)
	$(BIN)/pytest -s tests/e2e

unit: $(INSTALLED)
	$(BIN)/pytest tests/unit

integration: $(INSTALLED) s3-server control-plane chart-tools
	$(BIN)/pytest $(IN_TWO) tests/integration

# docs/development.md says what is in it.
cluster-up: $(INSTALLED)
ifeq ($(PROVIDER),kind)
	tests/cluster/kind.sh up
else
	$(CLUSTER) up
endif

cluster-down: $(INSTALLED)
ifeq ($(PROVIDER),kind)
	tests/cluster/kind.sh down
else
	$(CLUSTER) down
endif

cluster-status: $(INSTALLED)
	$(CLUSTER) status

# Builds this checkout's images and loads them into the cluster, if it runs.
images: $(INSTALLED)
ifeq ($(PROVIDER),kind)
	tests/cluster/kind.sh images
else
	$(CLUSTER) images
endif

# What takes minutes of engine time and is left out of `make test`.
nightly: $(INSTALLED)
	$(BIN)/pytest -m nightly $(IN_TWO) tests/integration

# The trainer's image for GPUs: built, and checked as far as that needs no GPU. 30 GB of disk.
gpu-image: $(INSTALLED)
	$(CLUSTER) gpu-image

# Kills drivers, learners and engines at random moments, many times.
chaos: $(INSTALLED)
	$(BIN)/pytest tests/integration/engines/test_chaos.py --kills 30

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --requirement requirements/bench.txt
	for benchmark in benchmarks/bench_{grading,metrics,selection,sizing,training,weights}.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark; done

# 1,000 experiments against a real API server, and KubeRay with RayJobs; on an otherwise idle machine.
bench-operator: $(INSTALLED) control-plane
	$(BIN)/python benchmarks/bench_operator.py
	$(BIN)/python benchmarks/bench_kuberay.py

# Resolves the newest allowed versions; run it on purpose, then run the tests.
LOCK := $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header
lock: $(UV)
	$(LOCK) --override requirements/overrides.txt --extra trainer-cpu --extra tracking --extra operator --group dev \
	  pyproject.toml --output-file requirements/cpu.txt
	# What the images are made of: each one's packages, and the tools that install packages.
	$(LOCK) --override requirements/overrides.txt --extra trainer-gpu --extra tracking \
	  pyproject.toml --output-file requirements/trainer-gpu.txt
	$(LOCK) --override requirements/overrides.txt --constraint requirements/cpu.txt --extra trainer-cpu --extra tracking \
	  pyproject.toml --output-file requirements/trainer-cpu.txt
	$(LOCK) --constraint requirements/cpu.txt --extra operator pyproject.toml --output-file requirements/operator.txt
	$(LOCK) --output-file requirements/build.txt - <<< $$'uv==$(UV_VERSION)\nhatchling'

clean:
	rm -rf .venv runs
