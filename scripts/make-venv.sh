#!/usr/bin/env bash
# Creates the virtual environment $1 with Python 3.11 or newer; installs Debian's python3-venv if it is missing.
# PYTHON=/path/to/python chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1

usable() {
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

if [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if usable "$python"; then
        break
    fi
    python=
done
if [ -z "$python" ]; then
    echo "hub needs Python 3.11 or newer: \`apt-get install python3 python3-venv\`, or name one: make PYTHON=/path/to/python" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip' 2>/dev/null && ! scripts/apt-install.sh python3-venv; then
    echo "$python cannot make virtual environments: run \`apt-get install python3-venv\` as root, and again" >&2
    exit 1
fi
"$python" -m venv "$venv"
