#!/bin/sh
# Installs the SDKs of package-lock.json into node_modules/ beside it, unless just these are there already.
# Needs Node 20 or newer, npm and a package registry; a refusal is one sentence, and the exit code is 2.
set -u
cd "$(dirname "$0")" || exit 2

refuse() {
    printf '%s\n' "$1" >&2
    exit 2
}

command -v node >/dev/null || refuse "Node is not installed: install Node 20 or newer."
[ "$(node -p 'process.versions.node.split(".")[0] >= 20')" = true ] ||
    refuse "The SDKs need Node 20 or newer and this is $(node --version): install a newer one."
cmp -s package-lock.json node_modules/.installed.json && exit 0
command -v npm >/dev/null || refuse "npm is not installed: install it beside Node."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for attempt in 1 2 3; do
    if npm ci >"$log" 2>&1; then
        cp package-lock.json node_modules/.installed.json
        exit 0
    fi
    sleep $((attempt * 2))
done
refuse "npm ci failed in tests/clients/node: $(grep -m 3 'npm error' "$log" | tr '\n' ' ')"
