#!/usr/bin/env bash
# Installs into .cache/peers what `make bench ARGS=peers` compares hub with: benchmarks/peers/requirements.txt. A no-op if it is
# there already.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=benchmarks/peers/requirements.txt
venv=.cache/peers
wanted=$(cat "$lock" "$0" | sha256sum)
if [ "$(cat "$venv/installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

echo "installing the peers (once)"
rm -rf "$venv"
scripts/make-venv.sh "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input install --require-hashes --requirement "$lock"
echo "$wanted" >"$venv/installed"
