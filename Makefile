# Every target does its own set-up: a machine with Python 3.11 or newer and make is enough.
PYTHON ?= python3
VENV := .venv
BIN  := $(VENV)/bin
# what training needs, and what the tests and sweeps on launchers need beside it
READY     := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
INSTALL   := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
ARGS ?=
OUT  ?= outputs/.gpu

.DEFAULT_GOAL := help
.PHONY: help install train test test-all gpu lint board docs figures clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(READY_DEV)  ## make .venv and install everything: for training, tests, launchers and searches

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "gan_runner needs Python 3.11 to 3.13; name one with make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV): PyTorch with CUDA and its libraries, about 6 GB; 3 to 6 minutes on a fast connection."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	@touch $@

$(READY_DEV): $(READY)
	$(INSTALL) -e ".[dev,sweep,docs]"
	@touch $@

train: $(READY)  ## train; make train ARGS="loss=wgan_gp seed=1"
	$(BIN)/python -m gan_runner $(ARGS)

test: lint  ## lint, types and the fast tests
	$(BIN)/python -m pytest -m "not long" -n auto --maxprocesses 8 --dist worksteal $(ARGS)

test-all: lint  ## lint, types and all tests, the long ones included
	$(BIN)/python -m pytest -m "not timed" -n auto --maxprocesses 8 --dist worksteal $(ARGS)
	$(BIN)/python -m pytest -m timed $(ARGS)

# An interpreter that is named is used as it is, so that a machine without a network needs no .venv.
ifeq ($(origin PYTHON),command line)
gpu: GPU_PYTHON = PYTHONPATH=.:$$PYTHONPATH $(PYTHON)
else
gpu: GPU_PYTHON = $(BIN)/python
gpu: $(READY_DEV)
endif
gpu:  ## the whole check of a CUDA GPU, in 8 minutes; make gpu PYTHON=python3 uses that one as it is; OUT=folder
	$(GPU_PYTHON) docs/gpu.py --out $(OUT) $(ARGS)

lint: $(READY_DEV)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

board: $(READY)  ## TensorBoard on outputs/
	$(BIN)/tensorboard --logdir outputs --samples_per_plugin images=100 $(ARGS)

docs: $(READY_DEV)  ## the documentation on localhost, rebuilt at every change; make docs ARGS="-a localhost:8001"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve $(ARGS)

figures: $(READY)  ## the figures of docs/losses.md; trains every loss on a ring first, an hour and a half on a core
	$(BIN)/python -m gan_runner -m experiment=ring8 'loss=glob(*,exclude=[acgan*,semi*])' study=ring8
	$(BIN)/python docs/figures.py

clean:  ## remove .venv and caches; outputs/ stays
	rm -rf $(VENV) .site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find gan_runner tests -name __pycache__ -type d -prune -exec rm -rf {} +
