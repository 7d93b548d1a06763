#!/usr/bin/env bash
# Builds the images, with docker or podman, named by the code's version.
#
#   images/build.sh [training|serving|serving-gpu|all] [more arguments of `build`]
#
# serving-gpu is serving with ONNX Runtime's CUDA provider: what a service with `run.deploy.gpus` above 0 runs.
#
#   REGISTRY      put in front of the name, as `run.cluster.registry` in the spec
#   BASE          another base image with Python 3.11 or 3.12
#   TORCH_WHEELS  see images/training.Dockerfile: empty for CUDA, an address or a folder for the CPU build
#   PUSH=1        push what was built
#   BUILDER       docker or podman; the first that is installed, if unset
set -euo pipefail
cd "$(dirname "$0")/.."

which="${1:-all}"
shift || true
case "$which" in
  all) kinds=(training serving serving-gpu) ;;
  training | serving | serving-gpu) kinds=("$which") ;;
  *)
    echo "images/build.sh: '$which' is no image; give training, serving, serving-gpu or all" >&2
    exit 2
    ;;
esac

builder="${BUILDER:-}"
for candidate in docker podman; do
  if [ -z "$builder" ] && command -v "$candidate" >/dev/null; then builder="$candidate"; fi
done
if [ -z "$builder" ]; then
  echo "images/build.sh: neither docker nor podman is installed" >&2
  exit 2
fi

python="${PYTHON:-.venv/bin/python}"
version="$("$python" -c 'from elec.version import code_version; print(code_version())')"
case "$version" in
  *-dirty) echo "images/build.sh: the checkout has changes that are not committed; the tag says so" >&2 ;;
esac

for kind in "${kinds[@]}"; do
  name="$("$python" -c 'import sys; from elec.version import image_name; print(image_name(*sys.argv[1:]))' "$kind" "${REGISTRY:-}")"
  arguments=(--file "images/${kind%-gpu}.Dockerfile" --tag "$name" --build-arg "CODE_VERSION=$version")
  if [ "$kind" = serving-gpu ]; then arguments+=(--build-arg GPU=1); fi
  if [ -n "${BASE:-}" ]; then arguments+=(--build-arg "BASE=$BASE"); fi
  if [ "$kind" = training ] && [ -n "${TORCH_WHEELS:-}" ]; then arguments+=(--build-arg "TORCH_WHEELS=$TORCH_WHEELS"); fi
  if [ "$builder" = podman ]; then arguments+=(--format docker); fi # the OCI format has no HEALTHCHECK
  "$builder" build "${arguments[@]}" "$@" .
  if [ "${PUSH:-}" = 1 ]; then "$builder" push "$name"; fi
  echo "$name"
done
