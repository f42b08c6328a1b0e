#!/usr/bin/env bash
# Writes the Python modules, the comments and the typed stubs of every .proto below protos/, the descriptors of the example in
# JavaScript, and the Grafana dashboard, below the folder
# $1 (default: the project), and prints their paths. protos/hub/ is the package itself and goes to src/; anything else goes to the
# folder of the same name: protos/translator/v1/translator.proto becomes translator/v1/translator_pb2.py.
# `make check` runs it into an empty folder and compares, so that stale generated code fails.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${1:-.}
PATH="$(cd "$(dirname "$python")" && pwd):$PATH"
mkdir -p "$out/src" "$out/stubs" "$out/deploy/grafana/dashboards"

comments='import sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hub.contract.comments import encoded_comments
sys.stdout.buffer.write(encoded_comments(FileDescriptorSet.FromString(sys.stdin.buffer.read()).file[0]))'

generate() { # the folder of the modules, and the .proto files
    local modules=$1 proto module
    shift
    [ $# -gt 0 ] || return 0
    "$python" -m grpc_tools.protoc -Iprotos --python_out="$modules" --mypy_out="$out/stubs" "$@"
    for proto in "$@"; do
        module=${proto#protos/}
        module=${module%.proto}_pb2
        # The comments, which the module drops; as `hub proto build` writes them.
        if [ "$modules" = "$out" ]; then # hub's own messages are no model's
            "$python" -m grpc_tools.protoc -Iprotos --include_source_info --descriptor_set_out=/dev/stdout "$proto" |
                "$python" -c "$comments" > "$modules/${module//-/_}.comments.json"
        fi
        echo "$proto -> $modules/${module//-/_}.py, $out/stubs/${module//-/_}.pyi"
    done
}

mapfile -d '' -t ours < <(find protos -name '*.proto' -path 'protos/hub/*' -print0 | sort -z)
mapfile -d '' -t others < <(find protos -name '*.proto' ! -path 'protos/hub/*' -print0 | sort -z)
generate "$out/src" "${ours[@]}"
generate "$out" "${others[@]}"
mkdir -p "$out/examples/node"
# In base64, so that a change can be read as text.
"$python" -m grpc_tools.protoc -Iprotos --include_imports --descriptor_set_out=/dev/stdout \
    protos/examples/word_count/v1/word_count.proto | base64 -w 120 > "$out/examples/node/word_count.txt"
stray=$(find . \( -name '.*' -o -name node_modules -o -name site-packages -o -name protos -o -path ./src/hub/cli/proto/include \) ! -name . -prune -o -name '*.proto' -print)
if [ -n "$stray" ]; then
    printf 'nothing is generated from a .proto outside of protos/, move it there: %s\n' "$stray" >&2
    exit 1
fi
"$python" -m scripts.grafana_dashboard >"$out/deploy/grafana/dashboards/hub.json"
