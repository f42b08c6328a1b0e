# CI, a laptop and the README share these targets. `make up` and `make test` work in a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
RUN := .venv/run.installed
DEV := .venv/dev.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input

MODELS ?= examples.model_a:ModelA examples.digits:Digits examples.writer:Writer
ARGS ?=
# Number of processes that run tests, each with its own RabbitMQ and Redis. They wait for servers most of the time.
WORKERS ?= 3

# A worker runs whole files, for the servers and processes that their tests share. tests/conftest.py puts long files first.
DIST := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

FLAKE8_ASYNC := xargs -0 -n 20 -P 2 $(BIN)/flake8-async --anyio
# Disabled rules of flake8-async: those that are off by default in flake8 (106, 9xx); 114, which needs a list of every
# startable function; 124, since methods of ports and route handlers are `async` even if they do not wait; and 128, which
# does not see a `task_status` that is passed on.
DISABLED := ASYNC106,ASYNC114,ASYNC124,ASYNC128,ASYNC9
# 110: a server has no event to wait for; such loops are under `fail_after`.
# 401: `pytest.raises` is enough where the shape of an exception group does not matter.
DISABLED_IN_TESTS := ASYNC110,ASYNC401

.PHONY: help dist install up test test-fast chaos awkward fuzz overload alerts check static lint types generated docs-check site docs fmt bench lock generate sbom

help: ## Show the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(DEV) ## Make .venv with everything that development needs.

up: $(RUN) ## Run registry, gateway, dashboard and the examples in one process. MODELS=... ARGS=...
	@exec $(BIN)/hub up $(MODELS) $(ARGS)

test: $(DEV) ## Run the tests. ARGS="-k proxy" goes to pytest; WORKERS=0 runs them in one process.
	@scripts/need-servers.sh
	@scripts/install-clients.sh
	@scripts/install-node-example.sh
	@scripts/install-docs.sh
	$(BIN)/pytest $(DIST) $(ARGS)

test-fast: $(DEV) ## Run the tests that need no server, no browser and no process of hub, in a minute.
	HUB_TEST_ASYNCIO_DEBUG=0 HUB_TEST_EXAMPLE_SHARE=0.2 $(BIN)/pytest $(DIST) -m "not (rabbitmq or redis or browser or slow)" $(ARGS)

chaos: $(DEV) ## Inject faults under load and check every promise, on asyncio and trio. ARGS="--short" is a minute.
	@scripts/need-servers.sh
	$(BIN)/python -m tests.chaos $(ARGS)

awkward: $(DEV) ## Run models that exit, fork, compute and fail beside a good one. ARGS="--short --way embedded"
	@scripts/need-servers.sh
	$(BIN)/python -m tests.awkward $(ARGS)

fuzz: $(DEV) ## Fuzz every decoder and a running gateway for ten minutes. ARGS="--minutes 1 --seed 7 --only json"
	$(BIN)/python -m tests.fuzz $(ARGS)

overload: $(DEV) ## Send a system twice its capacity for ten minutes. ARGS="--minutes 1 --backend trio --way embedded"
	@scripts/need-servers.sh
	$(BIN)/python -m benchmarks.overload $(ARGS)

alerts: $(DEV) ## Trigger every alert for real, under a real Prometheus. ARGS="--backend asyncio"
	@scripts/need-servers.sh
	$(BIN)/python -m tests.observability $(ARGS)

check: static site ## Lint, types, import rules, generated-code drift, documentation.

static: lint types generated docs-check # What `check` does without writing files.

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	grep -rlZ --include='*.py' --exclude-dir=programs async $(wildcard src examples benchmarks scripts) | $(FLAKE8_ASYNC) --disable $(DISABLED)
	grep -rlZ --include='*.py' async tests | $(FLAKE8_ASYNC) --disable $(DISABLED),$(DISABLED_IN_TESTS)
	cd protos && ../$(BIN)/buf lint
	$(BIN)/pytest -q tests/meta/test_imports.py

types: $(DEV)
	$(BIN)/mypy
	$(BIN)/pyright

generated: $(DEV)
	PYTHON=$(BIN)/python scripts/check-generated.sh

docs-check: $(RUN) ## Check the documentation: links, commands, settings.
	$(BIN)/python scripts/check_docs.py

site: $(DEV) ## Build the documentation into site/; a warning or a broken link is an error.
	@scripts/install-docs.sh
	$(BIN)/python -m scripts.site

docs: $(DEV) ## Serve the documentation on port 8080 of this machine, and build it again when a page changes.
	@scripts/install-docs.sh
	@exec $(BIN)/python -m scripts.site serve

fmt: $(DEV) ## Format and apply safe fixes.
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	cd protos && ../$(BIN)/buf format --write

sbom: ## Write the bill of materials to dist/hub.cdx.json (CycloneDX). ARGS=--dev adds the tools.
	@mkdir -p dist
	@$(shell command -v python3) scripts/sbom.py $(ARGS) > dist/hub.cdx.json
	@echo dist/hub.cdx.json

dist: $(DEV) ## Build the wheel and the source distribution into dist/, with what the lock pins.
	@rm -f dist/*.whl dist/*.tar.gz
	@$(BIN)/python -m hatchling build -d dist

bench: $(DEV) ## Run the benchmarks. ARGS=peers compares with other systems and writes docs/benchmarks.md.
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(DEV) ## Pin dependencies anew. ARGS=--upgrade takes the newest.
	scripts/lock.sh $(ARGS)

generate: $(DEV) ## Generate the code from protos/, and the Grafana dashboard.
	PYTHON=$(BIN)/python scripts/generate.sh

$(RUN): requirements/run.lock pyproject.toml
	@scripts/make-venv.sh .venv
	@echo "installing what hub runs with (once)"
	@$(PIP) install --require-hashes --requirement requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.lock pyproject.toml
	@scripts/make-venv.sh .venv
	@echo "installing what development needs (once)"
	@$(PIP) install --require-hashes --requirement requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(RUN) $@
