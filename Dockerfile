# syntax=docker/dockerfile:1
# constraints.txt has the versions, by PIP_CONSTRAINT; a variant has no tag.
# hadolint global ignore=DL3006,DL3008,DL3013
# One image for every part of a fleet: workers, scheduler, migration, command line.
#
#   docker build -t semantik-pipeline:cpu .
#   docker build -t semantik-pipeline:cuda --build-arg VARIANT=cuda .
#
# Arguments:
#   VARIANT        cpu or cuda. They differ in torch alone: its CUDA build brings the CUDA libraries, so that the host
#                  gives nothing but the driver.
#   TORCH_INDEX    of the variant cpu: the URL of an index with torch's CPU builds, which PyTorch's own page on
#                  installing names. Without it, torch comes with the CUDA libraries: it works, and is gigabytes larger.
#   EXTRA_PLUGINS  plugin packages to install, as pip takes them: "semantik-tickets==1.0.0 semantik-jira".
#   EXTRAS         of this package, beside `fleet`.
# A mirror, or an index that wants a password, goes into a pip.conf that stays out of the image: --secret id=pip,src=pip.conf

ARG PYTHON=3.11
ARG VARIANT=cpu

# The project as a wheel, made where its sources may stay behind.
FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY migrations migrations
COPY workers workers
COPY semantik_pipeline semantik_pipeline
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip wheel --no-deps --wheel-dir /wheels .

# What both variants share: who runs it, where its data lies, and that nothing calls home.
FROM python:${PYTHON}-slim AS base
# libmagic: media types of what unstructured parses; ssh: git sources that are reached by it
RUN apt-get update && apt-get install --yes --no-install-recommends libmagic1 openssh-client && rm -rf /var/lib/apt/lists/*
# Named volumes take over the owner of the folder they are mounted on.
RUN useradd --uid 10001 --home-dir /var/lib/semantik --create-home semantik \
    && install --directory --owner semantik /var/lib/semantik/blobs /var/lib/semantik/cache /var/lib/semantik/models \
       /var/lib/semantik/packages /var/lib/semantik/state
COPY constraints.txt /etc/semantik/constraints.txt
# PYTHONUSERBASE: where `pip install` of the non-root user puts further plugin packages, and Python finds them;
# PIP_CONSTRAINT: they can't bring other versions of what was tested together.
ENV PYTHONUNBUFFERED=1 \
    PYTHONUSERBASE=/var/lib/semantik/packages \
    PIP_CONSTRAINT=/etc/semantik/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    SEMANTIK_DATA_DIR=/var/lib/semantik \
    XDG_CACHE_HOME=/var/lib/semantik/cache \
    SEMANTIK_MODELS_DIR=/var/lib/semantik/models \
    HF_HOME=/var/lib/semantik/models \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    TRANSFORMERS_OFFLINE=1 \
    UNSTRUCTURED_DISABLE_NOTICE=1 \
    SCARF_NO_ANALYTICS=true \
    DO_NOT_TRACK=true

# torch has a layer of its own: it is by far the largest part, and changes least.
# What torch needs comes with the other dependencies: an index of torch builds may have it in other versions.
FROM base AS torch-cpu
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

FROM base AS torch-cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install torch

# What the project depends on, by a package that holds nothing else: a change of the code leaves this layer as it is.
FROM torch-${VARIANT} AS dependencies
ARG EXTRAS=flower
WORKDIR /tmp/empty
COPY pyproject.toml README.md LICENSE ./
COPY semantik_pipeline/__init__.py semantik_pipeline/
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    mkdir config migrations workers \
    && pip install ".[fleet${EXTRAS:+,$EXTRAS}]" \
    && pip uninstall --yes semantik-pipeline \
    && rm -rf /tmp/empty/*

FROM dependencies AS runtime
ARG EXTRA_PLUGINS=
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-deps /wheels/*.whl \
    && if [ -n "$EXTRA_PLUGINS" ]; then pip install $EXTRA_PLUGINS; fi
# by number: Kubernetes can't tell from a name that it isn't root
USER 10001
WORKDIR /var/lib/semantik
ENTRYPOINT ["semantik"]
CMD ["--help"]
