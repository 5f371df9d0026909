# Everything a person starts by hand. Each target does its own set-up; all it needs is Python 3.11+, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH := $(VENV)/.bench
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    --no-emit-options --strip-extras --allow-unsafe --no-header --upgrade-package duckdb==1.5.5
SIZE ?= typical
SEED ?= 1
TARGET ?= embedded

# The environment is made once, and `make test` goes on with it. `make PYTHON=python3.13 test` asks for an interpreter:
# an environment of any other one is made again, and so is one whose interpreter was removed.
WHICH := -c 'import sys; print(sys.version.split()[0], sys.base_prefix)'
FOUND := $(shell $(BIN)/python $(WHICH) 2>/dev/null)
ASKED := $(if $(filter file,$(origin PYTHON)),$(FOUND),$(shell $(PYTHON) $(WHICH) 2>/dev/null))
ifeq ($(FOUND),)
AGAIN := again
else ifneq ($(FOUND),$(ASKED))
AGAIN := again
endif

.PHONY: help demo dev test matrix soak lint bench lock clean again
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml $(AGAIN)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is %d.%d. Try: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) (once, a minute or two) ..."
	@$(PYTHON) -m venv $(if $(AGAIN),--clear) $(VENV)
	@$(INSTALL) -r requirements.lock
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    --editable .
	@# The lock is resolved on one version of Python. What only another version needs would be missing there.
	@problems=$$($(BIN)/python -m pip check --disable-pip-version-check) || { echo "$$problems"; exit 1; }
	@touch $@

$(BENCH): requirements-bench.lock $(READY)
	@echo "Installing what the benchmarks compare with ..."
	@$(INSTALL) -r requirements-bench.lock
	@touch $@

demo: $(READY) ## one sync from end to end against a sandbox of 500 clients; SIZE=small for a quick one
	@$(BIN)/bms-pipeline sandbox run --size $(SIZE) --seed $(SEED) --calls-per-hour 15000 -- $(BIN)/bms-pipeline sync --create-unmatched

dev: $(READY) ## Dagster's UI at http://127.0.0.1:3000 with a sandbox behind it; TARGET=documents_api for Passportal's API
	@$(BIN)/bms-pipeline sandbox run --size $(SIZE) --seed $(SEED) --calls-per-hour 15000 --target $(TARGET) -- $(BIN)/bms-pipeline dev

test: $(READY) ## the quick suite, which has every kind of test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

matrix: ## the quick suite on each Python from 3.11 to 3.14 that is found on PATH or in pyenv
	@$(PYTHON) .ci/matrix.py

soak: $(READY) ## the long runs: every kill point and seed, the typical tenant, 600 strikes with a scoreboard
	@status=0; \
	$(BIN)/python -m pytest -n 2 --dist load -m soak --ignore bms_pipeline_tests/strikes || status=1; \
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n 2 --dist load -m explores || status=1; \
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m soak bms_pipeline_tests/strikes || status=1; \
	exit $$status

lint: $(READY) ## format, rules, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(BENCH) ## speed and memory as ratios within one run
	@$(BIN)/python -m benchmarks

lock: ## resolve both locks anew from pyproject.toml
	@$(LOCK) --extra dev -o requirements.lock pyproject.toml
	@$(LOCK) --extra bench --constraint requirements.lock -o requirements-bench.lock pyproject.toml

clean: ## remove the virtual environments and every sandbox
	rm -rf $(VENV) .venv-3.* .bms_pipeline/sandbox-*
