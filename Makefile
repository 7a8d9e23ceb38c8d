# Two commands matter: `make demo` and `make test`. Neither needs an active environment.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.installed
PRESET ?= tiny
TESTS ?= tests
# PyPI's torch for Linux is the CUDA build; this page has the CPU build, which the lock is for.
TORCH_WHEELS ?= https://download.pytorch.org/whl/cpu/torch/

# One thread per process: two training processes on two cores, and no oversubscription anywhere else.
export OMP_NUM_THREADS ?= 1
export PATH := $(BIN):$(PATH)

.PHONY: help env demo demo-full ship data data-push backbones test test-browser test-cluster lint format bench mlflow clean distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# The stamp is written last, so an interrupted installation is taken up again by the next `make`.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "error: $(PYTHON) is not Python 3.11; say which is: make env PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x .venv/bin/pip || $(PYTHON) -m venv --clear .venv
	@echo "Installing the locked environment into .venv (once, a few minutes) ..."
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --retries 1 --find-links $(TORCH_WHEELS) \
	  "$$(grep '^torch==' requirements.lock)"
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements.lock
	@.venv/bin/python -c 'import torch' \
	  || { echo "error: this build of torch does not load; give a page or folder with the CPU build: make env TORCH_WHEELS=..." >&2; exit 2; }
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

env: $(STAMP)  ## create .venv from requirements.lock (runs once per lock)

data: $(STAMP)  ## fetch data/ and models/ from the DVC remote
	.venv/bin/python -m elysium.offline dvc pull --quiet data.dvc $(wildcard models/*.dvc)

data-push: $(STAMP)  ## after a change in data/: record it in data.dvc and copy it to the DVC remote
	.venv/bin/python -m elysium.offline dvc add --quiet data
	.venv/bin/python -m elysium.offline dvc push --quiet data.dvc
	@echo "Now commit data.dvc and .dvc-remote/"

# Prefect keeps its state inside the repository, so the demo neither sees nor touches a profile of the user's.
demo: export PREFECT_HOME := $(CURDIR)/.prefect
demo: data  ## run the whole pipeline with preset=tiny and print the result table
	.venv/bin/python flows/full.py --preset $(PRESET)

demo-full:  ## the recipe of models/elysium-tiny (preset=tiny_full): about an hour on two cores
	$(MAKE) demo PRESET=tiny_full

ship: $(STAMP)  ## after `make demo-full`: make its checkpoint models/elysium-tiny, with a model card, and give it to DVC
	.venv/bin/python -m elysium.model.ship artifacts/finetune_long/model artifacts/evaluate models/elysium-tiny
	.venv/bin/python -m elysium.offline dvc add --quiet models/elysium-tiny
	.venv/bin/python -m elysium.offline dvc push --quiet models/elysium-tiny.dvc
	@echo "Now commit models/ and .dvc-remote/"

backbones: data  ## make data/backbones anew: the small vision tower and language model (about an hour on two cores)
	.venv/bin/elysium stage backbones

test: data  ## run all tests (TESTS=tests/flows for some)
	.venv/bin/python -m elysium.offline python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

test-browser: data  ## the web page in headless Chromium (CHROMIUM=/path/to/it)
	.venv/bin/python -m elysium.offline python -m pytest browser

test-cluster: data  ## the curation on a Ray cluster of two nodes (needs the extra `cluster`: ray and grpcio)
	.venv/bin/python -m elysium.offline python -m pytest cluster

lint: $(STAMP)  ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: $(STAMP)  ## ruff's formatter and its safe fixes
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: $(STAMP)  ## speed and memory benchmarks (never part of the tests)
	@for script in benchmarks/*.py; do echo "== $$script"; .venv/bin/python -m elysium.offline python "$$script"; done

mlflow: $(STAMP)  ## open the MLflow page on http://127.0.0.1:5000
	.venv/bin/python -m elysium.offline mlflow server --host 127.0.0.1 --port 5000 --workers 1 \
	  --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

clean:  ## remove what runs made (artifacts, MLflow and Prefect state, caches); keeps .venv and data
	rm -rf artifacts mlflow.db mlruns mlartifacts outputs .prefect .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .dvc/cache .dvc/tmp
	find src flows tests conf benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv and data too
	rm -rf .venv data
