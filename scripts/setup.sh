#!/bin/sh
# Chooses the Python that makes .venv, then hands over to setup.py.
#   scripts/setup.sh SET...      a SET is run, demo, test or dev: a file of requirements/
# PYTHON names the interpreter; without it an existing .venv is kept, and a new one is made with
# the first suitable Python on the PATH. A refusal is one sentence; the exit code is 2.
set -u
cd "$(dirname "$0")/.." || exit 2

refuse() {
    printf '%s\n' "$1" >&2
    exit 2
}

case "$(uname -s 2>/dev/null)" in
MINGW* | MSYS* | CYGWIN* | Windows*)
    refuse "Parcours does not run on Windows itself: open a WSL2 terminal (wsl --install), clone it there, and run the same command."
    ;;
esac
case "$(uname -r 2>/dev/null)" in
*-Microsoft)
    refuse "Parcours needs WSL2 and this is WSL1: run 'wsl --set-version <distribution> 2' in PowerShell, then the same command again."
    ;;
esac

# Prints the version as 3.11.7, or nothing if this is no Python that starts.
version_of() {
    "$1" -c 'import sys; print("%d.%d.%d" % tuple(sys.version_info[:3]))' 2>/dev/null
}

recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null
}

# A system upgrade can move the interpreter under a .venv; such a .venv is made anew.
venv_is_sound() {
    [ -f .venv/.created ] && [ "$(.venv/bin/python -c 'import sys; print("%d.%d" % tuple(sys.version_info[:2]))' 2>/dev/null)" = "$(cat .venv/.created)" ]
}

chosen=
if [ -n "${PYTHON:-}" ]; then
    found=$(version_of "$PYTHON")
    [ -n "$found" ] || refuse "PYTHON=$PYTHON does not start: give the path of a Python 3.11 or newer, as in PYTHON=/usr/bin/python3.12."
    recent_enough "$PYTHON" || refuse "Parcours needs Python 3.11 or newer and PYTHON=$PYTHON is $found: give a newer one, as in PYTHON=/usr/bin/python3.12."
    chosen=$PYTHON
elif venv_is_sound; then
    chosen=.venv/bin/python
else
    oldest=
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        found=$(version_of "$candidate")
        [ -n "$found" ] || continue
        if recent_enough "$candidate"; then
            chosen=$candidate
            break
        fi
        [ -n "$oldest" ] || oldest="$(command -v "$candidate") is $found"
    done
    if [ -z "$chosen" ]; then
        [ -n "$oldest" ] || oldest="none was found on the PATH"
        refuse "Parcours needs Python 3.11 or newer and $oldest: install one, then name it, as in PYTHON=/usr/bin/python3.12."
    fi
fi
exec "$chosen" scripts/setup.py "$@"
