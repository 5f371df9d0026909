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

.PHONY: help demo dev test soak lint bench lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is %d.%d. Try: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) (once, a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) -r requirements.lock
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    --editable .
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

soak: $(READY) ## the long runs: every kill point and seed, the typical tenant, 600 strikes with a scoreboard
	@status=0; \
	$(BIN)/python -m pytest -n 2 --dist load -m soak --ignore bms_pipeline_tests/strikes || status=1; \
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

clean: ## remove the virtual environment and every sandbox
	rm -rf $(VENV) .bms_pipeline/sandbox-*
