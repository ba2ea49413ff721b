"""Make .venv and install into it exactly what requirements/ pins, and nothing if it is all there.

Usage: scripts/setup.py SET...   (run, demo, test, dev; see scripts/setup.sh, which chooses the interpreter)

It needs the standard library only. A stamp per set holds the checksum of that set's file, so an unchanged set
costs no call of pip and no network. A refusal is one sentence on the standard error and exit code 2.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CREATED = VENV / ".created"
LOG = VENV / "pip.log"
SETS = ("run", "demo", "test", "dev")
UNREACHABLE = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionResetError",
    "NameResolutionError",
    "ProxyError",
    "SSLError",
    "Connection refused",
    "Connection broken",
    "Connection timed out",
)


class Refusal(Exception):
    """The set-up cannot go on; the message is the whole sentence for the person at the terminal."""


def requirements_of(name: str) -> Path:
    """The pinned file of a set."""
    return ROOT / "requirements" / f"{name}.txt"


def stamp_of(name: str) -> Path:
    """Where the checksum of an installed set is kept."""
    return VENV / f".installed-{name}"


def checksum_of(name: str) -> str:
    """The SHA-256 of a set's pinned file, in hexadecimal."""
    return hashlib.sha256(requirements_of(name).read_bytes()).hexdigest()


def is_installed(name: str) -> bool:
    """Whether .venv holds this set in the version that requirements/ names now."""
    stamp = stamp_of(name)
    return stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == checksum_of(name)


def venv_is_usable() -> bool:
    """Whether .venv was made to its end, by a Python of the same version as this one."""
    if not CREATED.is_file() or not (VENV / "bin" / "python").exists():
        return False
    return CREATED.read_text(encoding="utf-8").strip() == python_series()


def python_series() -> str:
    """This interpreter's version to two places, such as 3.11."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def create_venv() -> None:
    """Make a new .venv in place of whatever is there. Raises Refusal without the venv module."""
    missing = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
    if missing:
        raise Refusal(
            f"{sys.executable} ({python_series()}) has no {missing[0]} module: install it"
            f" (Debian and Ubuntu: apt-get install python{python_series()}-venv),"
            " or name another Python, as in PYTHON=/usr/bin/python3.12."
        )
    say(f"Making .venv with Python {python_series()} ({sys.executable})")
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if made.returncode != 0:
        raise Refusal(
            f"{sys.executable} could not make a virtual environment in .venv ({last_line(made.stderr or made.stdout)}):"
            " name another Python, as in PYTHON=/usr/bin/python3.12."
        )
    CREATED.write_text(python_series() + "\n", encoding="utf-8")


def install(names: list[str]) -> None:
    """Install the pinned files of these sets, wheels only and every one checked by its hash.

    Raises Refusal with the reason when pip does not succeed; its whole output stays in .venv/pip.log.
    """
    command = [
        str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--require-hashes", "--only-binary", ":all:", "--progress-bar", "off",
        # At least one retry: without any, pip says nothing of a connection that failed.
        "--retries", "3",
    ]  # fmt: skip
    for name in names:
        command += ["--requirement", str(requirements_of(name))]
    say(f"Installing the packages of {', '.join(names)} into .venv (a minute or two, once)")
    started = time.monotonic()
    with LOG.open("w", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise Refusal(reason_of_failure(LOG.read_text(encoding="utf-8", errors="replace")))
    for name in names:
        stamp_of(name).write_text(checksum_of(name) + "\n", encoding="utf-8")
    say(f"Installed in {time.monotonic() - started:.0f} s")


def reason_of_failure(output: str) -> str:
    """One sentence for what pip printed when it failed."""
    if any(sign in output for sign in UNREACHABLE):
        return (
            "The package index cannot be reached and the first set-up needs it: connect this machine to the network"
            " (or point pip at a mirror with PIP_INDEX_URL), then run the same command again."
        )
    if "DO NOT MATCH THE HASHES" in output:
        return (
            "A downloaded package is not the one that requirements/ pins (its hash differs), so nothing of it was"
            " installed: run the same command again, and if it repeats look at the mirror or proxy in between;"
            " .venv/pip.log names the package."
        )
    if "No space left on device" in output:
        return "The disk is full: free about 1 GB for .venv, then run the same command again."
    if "No matching distribution found" in output:
        package = output.rsplit("No matching distribution found for ", 1)[-1].split()[0].split("==")[0]
        return (
            f"Where pip looks there is no build of {package} for Python {python_series()} on this system: check"
            " PIP_INDEX_URL, PIP_NO_INDEX and PIP_FIND_LINKS, or name another Python, as in PYTHON=/usr/bin/python3.12."
        )
    return f"pip could not install the packages ({last_line(output)}): the whole output is in .venv/pip.log."


def last_line(output: str) -> str:
    """The last line that says something, at most 200 characters of it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"


def say(sentence: str) -> None:
    """Print progress; the standard output stays free for what runs next."""
    print(sentence, file=sys.stderr, flush=True)


def set_up(names: list[str]) -> None:
    """Bring .venv to where it holds these sets. Two runs at once wait for each other."""
    directory = os.open(ROOT / "requirements", os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not venv_is_usable():
            create_venv()
        wanted = [name for name in names if not is_installed(name)]
        if wanted:
            install(wanted)
    finally:
        os.close(directory)


def main(arguments: list[str]) -> int:
    """Run the set-up and turn every foreseeable failure into a sentence; returns the exit code."""
    unknown = [name for name in arguments if name not in SETS]
    try:
        if unknown or not arguments:
            raise Refusal(f"Usage: scripts/setup.sh SET..., where a SET is one of {', '.join(SETS)}.")
        set_up(arguments)
    except Refusal as refusal:
        say(str(refusal))
        return 2
    except OSError as error:
        place = error.filename or ".venv"
        say(f"The set-up stopped at {place} ({error.strerror}): mend that, then run the same command again.")
        return 2
    except KeyboardInterrupt:
        say("Stopped; run the same command to go on.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
