#!/usr/bin/env bash
# Installs Debian packages if this user is allowed to, without starting their services.
# Exits with 1 if the user is not, or without apt-get; the caller prints what to do.
set -euo pipefail

command -v apt-get >/dev/null || exit 1
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    exit 1
fi

# deb-systemd-invoke and invoke-rc.d read this file before they start a service; 101 forbids it.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
if [ ! -e "$policy" ]; then
    "${as_root[@]}" sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' policy "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

echo "installing Debian packages: $*"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" </dev/null
