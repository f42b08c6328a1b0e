#!/usr/bin/env bash
# Fails if generated files differ from the output of protos/ and scripts/grafana_*.py: edited by hand, stale, or of a
# deleted .proto.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/generate.sh "$fresh" >/dev/null
# Where modules may be: protos/hub goes to src, any other folder below protos to one of its name, a file in it to the root.
mapfile -t folders < <({
    printf '%s\n' src stubs examples deploy/grafana/dashboards
    find protos -mindepth 1 -maxdepth 1 -type d ! -name hub -printf '%P\n'
} | sort -u)

generated() {
    (cd "$1" && {
        find "${folders[@]}" -type f \( -name '*_pb2.py' -o -name '*_pb2.pyi' -o -name '*.json' -o -name 'word_count.txt' \) 2>/dev/null
        find . -maxdepth 1 -name '*_pb2.py' -printf '%P\n'
    } | grep -E '_pb2\.(pyi?|comments\.json)$|word_count\.txt$|^deploy/' | sort)
}

stale=
diff -u --label committed --label generated <(generated .) <(generated "$fresh") || stale=1
while read -r file; do
    diff -u "$file" "$fresh/$file" || stale=1
done < <(generated "$fresh")
if [ -n "$stale" ]; then
    echo "generated files differ from what makes them: run \`make generate\` and commit what it changes" >&2
    exit 1
fi
