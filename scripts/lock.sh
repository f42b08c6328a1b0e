#!/usr/bin/env bash
# Pins every dependency, with hashes, for every platform and Python version at once. Keeps the current pins where
# pyproject.toml allows them; arguments go to uv (--upgrade, --upgrade-package NAME).
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" "$@"
}
compile pyproject.toml "$@" --group dev --output-file requirements/dev.lock
compile "$@" --group clients --output-file requirements/clients.lock
compile "$@" --group docs --output-file requirements/docs.lock
compile pyproject.toml --group build --group examples --constraints requirements/dev.lock --output-file requirements/run.lock
compile pyproject.toml --group build --constraints requirements/run.lock --output-file requirements/base.lock
compile benchmarks/peers/requirements.in --python-version 3.11 "$@" --output-file benchmarks/peers/requirements.txt
