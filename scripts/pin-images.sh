#!/usr/bin/env bash
# Pins each image of Dockerfile, compose.yaml and deploy/kubernetes by the digest that its tag has now:
# `redis:7.4` becomes `redis:7.4@sha256:...`, and an old digest is replaced by the current one. Needs Docker with
# buildx, and a network. Read the diff and run the tests before you commit it: images do not change until the next run.
# Arguments are the files to change instead.
set -euo pipefail

cd "$(dirname "$0")/.."
if (($# == 0)); then
  set -- Dockerfile compose.yaml deploy/kubernetes/overlays/trial/rabbitmq.yaml deploy/kubernetes/overlays/trial/redis.yaml
fi

digest_of() {
  docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1"
}

for file in "$@"; do
  # `image: name:tag` of YAML, and the tag of the Dockerfile's base image. An image without a tag is that of hub.
  images=$(sed -nE \
    -e 's/^ *image: *"?([a-z0-9./_-]+:[A-Za-z0-9._-]+)(@sha256:[0-9a-f]{64})?"? *(#.*)?$/\1/p' \
    -e 's/^ARG PYTHON=([A-Za-z0-9._-]+)(@sha256:[0-9a-f]{64})? *$/python:\1/p' "$file" | sort -u)
  for image in $images; do
    digest=$(digest_of "$image")
    if [[ ! $digest =~ ^sha256:[0-9a-f]{64}$ ]]; then
      echo "$file: the registry gave no digest for $image, but: ${digest:0:100}" >&2
      exit 1
    fi
    tag=${image#python:}
    escaped=${tag//./\\.}
    sed -i -E \
      -e "s|^( *image: *\"?)${escaped}(@sha256:[0-9a-f]{64})?(\"? *(#.*)?)$|\1${tag}@${digest}\3|" \
      -e "s|^(ARG PYTHON=)${escaped}(@sha256:[0-9a-f]{64})? *$|\1${tag}@${digest}|" "$file"
    echo "$file: $image is $digest"
  done
done
