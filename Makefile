# `make demo` is the way in; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# Other engines do not go together with what is locked for the product: an environment of their own.
BENCH := .venv-bench
# Two files at a time, in the order of tests/conftest.py: much of the time is spent waiting for
# brokers, clusters and browsers.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install install-all install-dev services demo lint format types generate test soak fuzz bench docs sbom audit lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(VENV)/.installed ## Make .venv with what running needs, and the triage pages

install-all: $(VENV)/.installed-all ## Make .venv with BigQuery, Dataflow and sharing, too

install-dev: $(VENV)/.installed-dev ## Make .venv with what testing needs, too

demo: install ## Everything on this machine, offline, ends with a report to open
	$(BIN)/distilwatch demo

services: ## Install Kafka, Prism, Flink and a BigQuery emulator into .local, for tests on the real thing
	PYTHON=$(PYTHON) bash infra/local/install.sh

lint: install-dev ## Check style, format, and which part may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: install-dev ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install-dev ## Check types
	$(BIN)/mypy

generate: install-dev ## Write the files and pages that are made from contracts and code
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m pipelines.reference
	$(BIN)/python -m infra.grafana.dashboard

# One after the other, whatever -j says: the tests' own summary must come last.
test: install-dev services ## Style, types, then all tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	$(BIN)/pytest $(PYTEST_ARGS)

soak: install-dev services ## FAULTS (20) at random points of EVENTS (a million), hours; SEED=n repeats one
	SOAK_EVENTS=$(EVENTS) SOAK_ACCOUNTS=$(ACCOUNTS) SOAK_FAULTS=$(FAULTS) SEED=$(SEED) $(BIN)/pytest -m soak -s

fuzz: install-dev ## Every parser with inputs that are nearly right, for an hour. MINUTES=5 for less
	$(BIN)/python -W ignore -m tests.fuzz

bench: $(BENCH)/.installed services ## Compare with other engines: a table and a plot in bench-results
	$(BENCH)/bin/python -m bench $(BENCH_ARGS)

docs: install-dev ## Build the pages as a site, offline, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html"

sbom: install-dev ## List what is locked, with versions and hashes, as CycloneDX; offline
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --output-reproducible --of JSON -o build/sbom.json
	$(BIN)/cyclonedx-py requirements requirements-all.lock --output-reproducible --of JSON -o build/sbom-all.json
	$(BIN)/cyclonedx-py requirements infra/dataflow/requirements.lock --output-reproducible --of JSON \
	  -o build/sbom-dataflow.json
	@echo "build/sbom.json build/sbom-all.json build/sbom-dataflow.json"

# Strict: a package that nobody has looked at must not pass for one without weaknesses.
audit: install-dev ## Look for known weaknesses of the locked packages; needs a network. AUDIT_ARGS="-s osv" asks osv.dev
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements-all.lock $(AUDIT_ARGS) || { \
	  echo 'If a dependency was "not found", this index knows of no weaknesses at all: make audit AUDIT_ARGS="-s osv"' >&2; \
	  exit 1; }

# What is locked stays as it is, unless LOCK_ARGS=--upgrade-package=NAME says otherwise.
lock: install-dev ## Resolve the locked versions anew, moving no more than asked in LOCK_ARGS
	cd $(CURDIR) && COMPILE="$(BIN)/uv pip compile -q --python-version 3.11 --universal \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-strip-extras $(LOCK_ARGS)" && \
	  $$COMPILE setup.py --extra build --extra dev -o requirements-dev.lock && \
	  $$COMPILE setup.py --extra build --extra triage --extra otlp -c requirements-dev.lock \
	    -o requirements.lock && \
	  $$COMPILE setup.py --extra build --extra triage --extra otlp --extra gcp --extra sharing \
	    -c requirements-dev.lock -o requirements-all.lock && \
	  $$COMPILE setup.py --extra build --extra gcp -c requirements-dev.lock -o infra/dataflow/requirements.lock && \
	  $$COMPILE setup.py --extra build --extra bench -o bench/requirements.lock -c <(sed -n '/^[a-z]/p' \
	    requirements-dev.lock | sed 's/ \\$$//' | grep -vE '^pydantic(-core)?==') && \
	  $$COMPILE infra/local/bigquery/requirements.in -o infra/local/bigquery/requirements.txt && \
	  grep -oE '^pip==[0-9.]+' requirements-pip.lock | $$COMPILE - --no-annotate -o requirements-pip.lock

clean: ## Remove the environment and what tools left
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null || { \
	  echo "Python 3.11 or 3.12 is needed, but \`$(PYTHON)\` is missing or another version." >&2; \
	  echo "Install it (Debian: apt install python3.11 python3.11-venv), or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# Older versions of pip refuse locked packages that are asked for with and without extras.
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-pip.lock

# The package itself is built with the locked setuptools, so that nothing unlocked is fetched.
$(VENV)/.installed: requirements.lock requirements-pip.lock setup.py pyproject.toml | $(BIN)/python
	@echo "Installing what is in requirements.lock; the first time takes a few minutes."
	$(BIN)/python -m pip install --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-all: requirements-all.lock $(VENV)/.installed
	@echo "Installing what is in requirements-all.lock."
	$(BIN)/python -m pip install --require-hashes -r requirements-all.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what is in requirements-dev.lock."
	$(BIN)/python -m pip install --require-hashes -r requirements-dev.lock
	@touch $@

$(BENCH)/.installed: bench/requirements.lock setup.py $(VENV)/.installed
	@echo "Installing the engines that the bench compares with."
	$(BIN)/python -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --require-hashes -r requirements-pip.lock
	$(BENCH)/bin/python -m pip install --require-hashes -r bench/requirements.lock
	$(BENCH)/bin/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@
