# Two images. `operator`: the controller, without any engine. `trainer`: what stages run in.
#   docker build --target operator -t limr-operator .
#   docker build --target trainer --build-arg DEVICES=gpu -t limr-trainer .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/limr/bin:$PATH \
    HOME=/home/limr \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# With a name, since libraries ask for it; a read-only root file system wants a volume mounted at HOME.
RUN echo "limr:x:65532:65532:limr:/home/limr:/bin/bash" >> /etc/passwd \
 && echo "limr:x:65532:" >> /etc/group \
 && install -d -o 65532 -g 65532 -m 0755 /home/limr

# The tools that install the packages below: no image keeps them.
FROM base AS tools
ARG SSL_CERT_FILE
ARG PIP_CERT
COPY requirements/build.txt /tmp/build.txt
RUN --mount=type=cache,target=/root/.cache/pip export HOME=/root \
 && python3 -m venv /opt/tools && /opt/tools/bin/pip install --quiet --require-hashes --requirement /tmp/build.txt

FROM tools AS wheel
COPY pyproject.toml README.md LICENSE /source/
COPY operator /source/operator
COPY trainer /source/trainer
RUN cd /source && /opt/tools/bin/hatchling build --target wheel --directory /wheels

# Old buildah mounts a stage that it took from its cache without what its steps made, and one without steps whole.
FROM tools AS mounted-tools

# Bytecode is compiled now, as running Pods may not write it, and checked by hash: time stamps differ in every build.
FROM base AS operator
ARG SSL_CERT_FILE
ARG PIP_CERT
COPY requirements/operator.txt /opt/limr/requirements.txt
RUN --mount=type=bind,from=mounted-tools,source=/opt/tools,target=/opt/tools \
    --mount=type=cache,target=/root/.cache/uv \
    export HOME=/root UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH \
 && /opt/tools/bin/uv venv --quiet --allow-existing --python python3 /opt/limr \
 && /opt/tools/bin/uv pip sync --quiet --python /opt/limr/bin/python --require-hashes /opt/limr/requirements.txt
# Copied, not mounted: builders notice a change of what is copied.
COPY --from=wheel /wheels /opt/limr/wheels
RUN --mount=type=bind,from=mounted-tools,source=/opt/tools,target=/opt/tools \
    export UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH \
 && /opt/tools/bin/uv pip install --quiet --no-cache --no-deps --python /opt/limr/bin/python /opt/limr/wheels/*.whl
LABEL org.opencontainers.image.title="limr operator" \
      org.opencontainers.image.description="Runs LIMRExperiments on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
WORKDIR /home/limr
ENTRYPOINT ["python", "-m", "limr_operator"]

FROM base AS trainer
ARG SSL_CERT_FILE
ARG PIP_CERT
# gpu: Triton, torch.compile and DeepSpeed compile while a stage runs, against Python's headers (a base with a Python of
# its own has them). cpu: vLLM's build for it needs libnuma.
ARG DEVICES=cpu
RUN packages="libnuma1 libgomp1"; \
    if [ "$DEVICES" = gpu ]; then \
      headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h; \
      packages="gcc g++ libc6-dev"; [ -e "$headers" ] || packages="$packages libpython3-dev"; \
    fi; \
    if ! dpkg-query --show $packages >/dev/null 2>&1; then \
      apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages && rm -rf /var/lib/apt/lists/*; \
    fi
COPY requirements/trainer-${DEVICES}.txt /opt/limr/requirements.txt
RUN --mount=type=bind,from=mounted-tools,source=/opt/tools,target=/opt/tools \
    --mount=type=cache,target=/root/.cache/uv \
    export HOME=/root UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH \
 && /opt/tools/bin/uv venv --quiet --allow-existing --python python3 /opt/limr \
 && /opt/tools/bin/uv pip sync --quiet --python /opt/limr/bin/python --require-hashes /opt/limr/requirements.txt
# Where FlashInfer and DeepSpeed look for CUDA, in the folders that they expect.
RUN if [ "$DEVICES" = gpu ]; then \
      cuda=$(echo /opt/limr/lib/python3*/site-packages/nvidia/cu13); \
      ln -s "$cuda" /usr/local/cuda && ln -s lib "$cuda/lib64" && ln -s libcudart.so.13 "$cuda/lib/libcudart.so"; \
    fi
# Readable for the user below, whatever the checkout's umask was.
COPY --chmod=755 examples/arithmetic /opt/limr/examples/arithmetic
COPY --from=wheel /wheels /opt/limr/wheels
RUN --mount=type=bind,from=mounted-tools,source=/opt/tools,target=/opt/tools \
    export UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH \
 && /opt/tools/bin/uv pip install --quiet --no-cache --no-deps --python /opt/limr/bin/python /opt/limr/wheels/*.whl
LABEL org.opencontainers.image.title="limr trainer" \
      org.opencontainers.image.description="Probe, training, evaluation, selection and report stages of LIMRExperiments" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
WORKDIR /home/limr
CMD ["bash"]
