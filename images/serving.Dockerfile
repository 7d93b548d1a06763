# The image that answers requests: ONNX Runtime and what reads Feast's stores, no torch. Build it from the root of the repository:
#   images/build.sh serving
# Run it with a read-only root file system and a writable /tmp:
#   docker run --read-only --tmpfs /tmp -p 8080:8080 -v "$PWD/runs:/runs:ro" elec-serving:TAG \
#     --bundle /runs/registry/bundles/ID --feast /runs/feast
#
# CODE_VERSION  which code this is; the image's tag is made from it.
# GPU           not empty: with ONNX Runtime's CUDA provider and its libraries (`images/build.sh serving-gpu`).
ARG BASE=python:3.11.13-slim-bookworm

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
RUN python -m pip install --no-cache-dir --disable-pip-version-check uv==${UV_VERSION} && python -m venv --without-pip /opt/elec
ENV UV_PYTHON=/opt/elec/bin/python UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=300
WORKDIR /build
COPY requirements.lock requirements-serving.lock ./
# The lock is complete: what it does not name is not installed.
ARG GPU=""
RUN uv pip install --no-deps -r requirements-serving.lock \
    && if [ -n "${GPU}" ]; then \
        version="$(sed -n 's/^onnxruntime==//p' requirements-serving.lock)" \
        && uv pip uninstall onnxruntime \
        && uv pip install "onnxruntime-gpu[cuda,cudnn]==${version}"; \
    fi

COPY pyproject.toml README.md LICENSE ./
COPY elec elec
COPY components components
COPY pipelines pipelines
COPY feature_repo feature_repo
RUN uv pip install --no-deps --build-constraints requirements.lock .

FROM ${BASE}
ARG CODE_VERSION
RUN test -n "${CODE_VERSION}" || { echo "give --build-arg CODE_VERSION=..., or use images/build.sh" >&2; exit 1; }
COPY --from=build /opt/elec /opt/elec
# /tmp is the only place that is written to, so that any user id and a read-only root file system will do.
ENV PATH=/opt/elec/bin:$PATH HOME=/tmp USER=elec \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 FEAST_USAGE=False HF_HUB_OFFLINE=1 \
    ELEC_CODE_VERSION=${CODE_VERSION}
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/v2/health/ready', timeout=2)"]
ENTRYPOINT ["python", "-m", "elec.serving", "--host", "0.0.0.0", "--port", "8080"]
