#!/bin/sh
# Pins requirements/*.in into requirements/*.txt: every version, every hash, for all platforms.
# Without arguments only what is missing moves; `scripts/pin.sh --upgrade` takes the newest of everything.
set -eu
cd "$(dirname "$0")/../requirements"
for name in run demo test dev; do
    ../.venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
        --no-emit-index-url --no-header "$@" "$name.in" --output-file "$name.txt" >/dev/null
    echo "requirements/$name.txt"
done
