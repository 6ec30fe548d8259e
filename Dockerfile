# syntax=docker/dockerfile:1
# Versions come from constraints.txt (PIP_CONSTRAINT), and a stage has no tag, so these rules of hadolint don't apply.
# hadolint global ignore=DL3006,DL3008,DL3013
# One image for every part of a fleet: workers, scheduler, API, migration and command line.
#
#   docker build -t semantik-pipeline:cpu .
#   docker build -t semantik-pipeline:cuda --build-arg VARIANT=cuda .
#
# Arguments:
#   VARIANT        cpu or cuda. They differ in torch only. Its CUDA build includes the CUDA libraries, so the host needs
#                  nothing but the driver.
#   TORCH_INDEX    for the variant cpu: the URL of a package index with CPU builds of torch. PyTorch's installation page
#                  names one. Without it, the image works too, but torch includes the CUDA libraries and is gigabytes
#                  larger.
#   EXTRA_PLUGINS  plugin packages to install, as arguments of pip: "semantik-tickets==1.0.0 semantik-jira".
#   EXTRAS         extras of this package to install in addition to `fleet`.
#
# If you use a mirror, or an index that requires a password, put it into a pip.conf, which does not become part of the
# image: --secret id=pip,src=pip.conf

ARG PYTHON=3.11
ARG VARIANT=cpu

# Builds the project as a wheel, in a stage of its own so that the sources stay out of the image.
FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY migrations migrations
COPY workers workers
COPY semantik_pipeline semantik_pipeline
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip wheel --no-deps --wheel-dir /wheels .

# What both variants share: the user, the folders of its data, and settings that turn off telemetry and downloads.
FROM python:${PYTHON}-slim AS base
# libmagic detects media types for the parser unstructured. git sources may need ssh.
RUN apt-get update && apt-get install --yes --no-install-recommends libmagic1 openssh-client && rm -rf /var/lib/apt/lists/*
# A named volume gets the owner of the folder that it is mounted on.
RUN useradd --uid 10001 --home-dir /var/lib/semantik --create-home semantik \
    && install --directory --owner semantik /var/lib/semantik/blobs /var/lib/semantik/cache /var/lib/semantik/models \
       /var/lib/semantik/packages /var/lib/semantik/state
COPY constraints.txt /etc/semantik/constraints.txt
# PYTHONUSERBASE is where `pip install` of the non-root user puts plugin packages, and where Python finds them.
# PIP_CONSTRAINT keeps these packages from replacing versions that were tested together.
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

# torch has its own layer, because it is by far the largest part and rarely changes.
# Its dependencies are installed later with all others: an index of torch builds may have other versions of them.
FROM base AS torch-cpu
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

FROM base AS torch-cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install torch

# Installs the dependencies through an empty package, so that a change of the code does not rebuild this layer.
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
# A number, because Kubernetes can't tell from a name that the user isn't root.
USER 10001
WORKDIR /var/lib/semantik
ENTRYPOINT ["semantik"]
CMD ["--help"]
