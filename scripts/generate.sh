#!/usr/bin/env bash
# Writes the Python modules and the typed stubs of protos/, and the Grafana dashboard, below the folder $1 (default: the
# project).
# `make check` runs it into an empty folder and compares, so that stale generated code fails.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${1:-.}
PATH="$(cd "$(dirname "$python")" && pwd):$PATH"
mkdir -p "$out/src" "$out/stubs" "$out/deploy/grafana/dashboards"
"$python" -m grpc_tools.protoc -Iprotos --python_out="$out/src" --mypy_out="$out/stubs" protos/hub/v1/*.proto
"$python" -m grpc_tools.protoc -Iprotos --python_out="$out" --mypy_out="$out/stubs" protos/examples/*/v1/*.proto
"$python" -m scripts.grafana_dashboard >"$out/deploy/grafana/dashboards/hub.json"
