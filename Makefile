# CI, a laptop and the README share these targets. `make up` and `make test` work in a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
RUN := .venv/run.installed
DEV := .venv/dev.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input

MODELS ?= examples.model_a:ModelA examples.digits:Digits
ARGS ?=
# Processes that run tests at a time, each with a RabbitMQ and a Redis of its own. They wait for servers most of the time.
WORKERS ?= 2

FLAKE8_ASYNC := xargs -0 -n 20 -P 2 $(BIN)/flake8-async --anyio
# Of flake8-async we leave off what is off by default in flake8 (106, 9xx); 114, which wants a list of every startable
# function; 124, since a method of a port or a route handler is `async` whether this one waits or not; and 128, which
# does not see a `task_status` that is handed on.
NOT_OURS := ASYNC106,ASYNC114,ASYNC124,ASYNC128,ASYNC9
# 110: a server on the other side of a socket has no event to wait for; such loops stand under `fail_after`.
# 401: `pytest.raises` serves where the shape of an exception group is not the point.
NOT_IN_TESTS := ASYNC110,ASYNC401

.PHONY: help install up test test-fast chaos awkward fuzz overload alerts check lint types generated docs fmt bench lock generate sbom

help: ## Show the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(DEV) ## Make .venv with everything that development needs.

up: $(RUN) ## Run registry, gateway, dashboard and the examples in one process. MODELS=... ARGS=...
	@exec $(BIN)/hub up $(MODELS) $(ARGS)

test: $(DEV) ## Run the tests. ARGS="-k proxy" goes to pytest; WORKERS=0 runs them in one process.
	@scripts/need-servers.sh
	@scripts/install-clients.sh
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-fast: $(DEV) ## Run the tests that need no server, no browser and no process of hub: under a minute on two idle cores.
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not (rabbitmq or redis or browser or slow)" $(ARGS)

chaos: $(DEV) ## Break everything under load and check the books, on asyncio and trio. ARGS="--short" is a minute.
	@scripts/need-servers.sh
	$(BIN)/python -m tests.chaos $(ARGS)

awkward: $(DEV) ## Run models that exit, fork, compute and fail beside a good one. ARGS="--short --way embedded"
	@scripts/need-servers.sh
	$(BIN)/python -m tests.awkward $(ARGS)

fuzz: $(DEV) ## Fuzz every decoder and a running gateway for ten minutes. ARGS="--minutes 1 --seed 7 --only json"
	$(BIN)/python -m tests.fuzz $(ARGS)

overload: $(DEV) ## Offer a system twice what it can do for ten minutes. ARGS="--minutes 1 --backend trio --way embedded"
	@scripts/need-servers.sh
	$(BIN)/python -m benchmarks.overload $(ARGS)

alerts: $(DEV) ## Set off every alert for real, under a real Prometheus. ARGS="--backend asyncio"
	@scripts/need-servers.sh
	$(BIN)/python -m tests.observability $(ARGS)

check: lint types generated docs ## Lint, types, import rules, generated-code drift, documentation.

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	grep -rlZ --include='*.py' async $(wildcard src examples benchmarks scripts) | $(FLAKE8_ASYNC) --disable $(NOT_OURS)
	grep -rlZ --include='*.py' async tests | $(FLAKE8_ASYNC) --disable $(NOT_OURS),$(NOT_IN_TESTS)
	cd protos && ../$(BIN)/buf lint
	$(BIN)/pytest -q tests/meta/test_imports.py

types: $(DEV)
	$(BIN)/mypy
	$(BIN)/pyright

generated: $(DEV)
	PYTHON=$(BIN)/python scripts/check-generated.sh

docs: $(RUN) ## Check the documentation: links, commands, settings.
	$(BIN)/python scripts/check_docs.py

fmt: $(DEV) ## Format and apply safe fixes.
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	cd protos && ../$(BIN)/buf format --write

sbom: ## Write what is shipped and installed to dist/hub.cdx.json (CycloneDX). ARGS=--dev adds the tools.
	@mkdir -p dist
	@$(shell command -v python3) scripts/sbom.py $(ARGS) > dist/hub.cdx.json
	@echo dist/hub.cdx.json

bench: $(DEV) ## Run the benchmarks. ARGS=... goes to them.
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(DEV) ## Pin dependencies anew. ARGS=--upgrade takes the newest.
	scripts/lock.sh $(ARGS)

generate: $(DEV) ## Write the code that protos/ give, and the Grafana dashboard.
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
