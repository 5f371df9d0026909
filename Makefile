# Everything a person starts by hand. Each target does its own set-up; all it needs is Python 3.11+, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What runs, what the tests need too, what the benchmarks compare with, what the site is built with: each is installed by the first target to need it.
READY := $(VENV)/.ready
TEST := $(VENV)/.test
BENCH := $(VENV)/.bench
DOCS := $(VENV)/.docs
INSTALL := $(BIN)/python .ci/install.py
LOCK := $(BIN)/python .ci/install.py --uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --upgrade-package duckdb==1.5.5
SIZE ?= typical
SEED ?= 1
TARGET ?= embedded
SBOM ?= sbom.json

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

.PHONY: help demo dev test matrix soak lint bench docs pictures lock sbom clean again
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml $(AGAIN)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is %d.%d. Try: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv --without-pip $(if $(AGAIN),--clear) $(VENV)
	@$(INSTALL) requirements.lock --editable
	@touch $@

$(TEST): requirements-test.lock $(READY)
	@echo "Installing what the tests need ..."
	@$(INSTALL) requirements-test.lock
	@touch $@

$(BENCH): requirements-bench.lock $(READY)
	@echo "Installing what the benchmarks compare with ..."
	@$(INSTALL) requirements-bench.lock
	@touch $@

$(DOCS): requirements-docs.lock $(READY)
	@echo "Installing what the documentation is built with ..."
	@$(INSTALL) requirements-docs.lock
	@touch $@

demo: $(READY) ## one sync from end to end against a sandbox of 500 clients; SIZE=small for a quick one
	@$(BIN)/bms-pipeline sandbox run --size $(SIZE) --seed $(SEED) --calls-per-hour 15000 -- $(BIN)/bms-pipeline sync --create-unmatched

dev: $(READY) ## Dagster's UI at http://127.0.0.1:3000 with a sandbox behind it; TARGET=documents_api for Passportal's API
	@$(BIN)/bms-pipeline sandbox run --size $(SIZE) --seed $(SEED) --calls-per-hour 15000 --target $(TARGET) -- $(BIN)/bms-pipeline dev

test: $(TEST) ## the quick suite, which has every kind of test
	@$(BIN)/python .ci/tools.py
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

matrix: ## the quick suite on each Python from 3.11 to 3.14 that is found on PATH or in pyenv
	@$(PYTHON) .ci/matrix.py

soak: $(TEST) ## the long runs: every kill point and seed, the typical tenant, 600 strikes with a scoreboard
	@$(BIN)/python .ci/tools.py
	@status=0; \
	$(BIN)/python -m pytest -n 2 --dist load -m soak --ignore bms_pipeline_tests/strikes || status=1; \
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n 2 --dist load -m explores || status=1; \
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m soak bms_pipeline_tests/strikes || status=1; \
	exit $$status

lint: $(TEST) ## format, rules, types, layers, templates, SQL
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/djlint --quiet --check bms_pipeline
	@$(BIN)/djlint --quiet --lint bms_pipeline
	@$(BIN)/sqlfluff lint --quiet bms_pipeline/*/sql
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(BENCH) ## speed and memory as ratios within one run
	@$(BIN)/python -m benchmarks

docs: $(DOCS) ## renew the references and build the documentation into site/, to be opened in a browser
	@$(BIN)/python docs/references.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open site/index.html"

pictures: $(TEST) $(DOCS) ## take every picture of README and docs again, from a sandbox
	@$(BIN)/python .ci/tools.py
	@$(BIN)/python -m docs.console_pictures
	@$(BIN)/python -m docs.dagster_pictures

lock: $(READY) ## resolve the locks again from pyproject.toml; what is locked stays as long as it may
	@$(LOCK) --extra sandbox --group build -o requirements.lock pyproject.toml
	@$(LOCK) --constraint requirements.lock --extra sandbox --extra scale --group test -o requirements-test.lock pyproject.toml
	@$(LOCK) --constraint requirements.lock --extra sandbox --group bench -o requirements-bench.lock pyproject.toml
	@$(LOCK) --constraint requirements.lock --constraint requirements-test.lock --group pyproject.toml:docs \
	    -o requirements-docs.lock
	@$(LOCK) --group pyproject.toml:uv -o requirements-uv.lock

sbom: $(TEST) ## write what is locked as a bill of materials (CycloneDX) into sbom.json
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file $(SBOM) requirements.lock

clean: ## remove the virtual environments and every sandbox
	rm -rf $(VENV) .venv-3.* .bms_pipeline/sandbox-*
