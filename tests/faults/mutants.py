"""Proves the kill test: each seeded bug, in a copy of the checkout, must turn it red by a guarantee that it names.

`python -m tests.faults.mutants [words]` runs the kill test on the checkout as it is, which must be green, and then on
every mutant (or those whose name holds one of the words). The command is the same every time. A mutant that cannot be
applied, does not start, or stays green is a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.seeded import MUTANTS, Mutant
from tests.support.services import CHECKOUT

__all__ = ["MutantNotApplied", "apply", "main"]

_LEFT_OUT = {".git", ".venv", ".hypothesis", "data", "build"}
_CACHES = shutil.ignore_patterns("__pycache__", ".*_cache", "*.log")
_PATIENCE_SECONDS = 600
_BROKEN = re.compile(r"GuaranteeBroken: (?P<name>[^:\n]+)")
_RED = 1
_BROKER = "broker"
_FEW = {"PARCOURS_TEST_BROKER_KILLS": "1", "PARCOURS_TEST_BROKER_PAUSES": "2"}


class MutantNotApplied(Exception):
    """The text to replace does not occur exactly once: the product changed, so the mutant must change too."""


def apply(mutant: Mutant, checkout: Path) -> None:
    """Write the bug into a copy of the checkout. Raises `MutantNotApplied`."""
    for edit in mutant.edits:
        path = checkout / edit.path
        text = path.read_text()
        if (found := text.count(edit.old)) != 1:
            raise MutantNotApplied(f"{mutant.name}: {found} times in {edit.path}, instead of once: {edit.old!r}")
        path.write_text(text.replace(edit.old, edit.new))


def _ignored(folder: str, names: list[str]) -> set[str]:
    return _CACHES(folder, names) | (_LEFT_OUT if Path(folder) == CHECKOUT else set())


def _run(checkout: Path, test: str, shape: str) -> tuple[int, str, float]:
    """One fault test of one shape in a checkout: exit code, output and seconds."""
    command = [sys.executable, "-m", "pytest", f"tests/faults/test_{test}.py", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["--tb=short", "-k", shape if test == "kill" else _BROKER]
    started = time.monotonic()
    environment = {**os.environ, **_FEW, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return -1, f"not done within {late.timeout:.0f} s", time.monotonic() - started
    return done.returncode, done.stdout + done.stderr, time.monotonic() - started


def _judge(mutant: Mutant) -> tuple[bool, str]:
    """Whether the kill test noticed, and what to say of it."""
    with tempfile.TemporaryDirectory(prefix="parcours-mutant-") as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(CHECKOUT, copy, ignore=_ignored)
        try:
            apply(mutant, copy)
        except MutantNotApplied as error:
            return False, f"NOT APPLIED  {error}"
        code, output, seconds = _run(copy, mutant.test, mutant.shape)
    broken = _BROKEN.search(output)
    if code == _RED and broken is not None:
        return True, f"killed  {mutant.name} ({mutant.shape}, {seconds:.0f} s)\n        by: {broken['name']}"
    if code == 0:
        return False, f"SURVIVED  {mutant.name} ({mutant.shape}, {seconds:.0f} s)"
    return False, f"FAILED OTHERWISE  {mutant.name} ({mutant.shape}, {seconds:.0f} s)\n{output[-6_000:]}"


def main(words: Sequence[str]) -> int:
    """Run everything and tell; the exit code is 0 only if the checkout is green and every mutant red."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    if not chosen:
        print("No mutant has that in its name. There are:", *(f"  {mutant.name}" for mutant in MUTANTS), sep="\n")
        return 2
    for test, shape in sorted({(mutant.test, mutant.shape) for mutant in chosen}):
        code, output, seconds = _run(CHECKOUT, test, shape)
        print(
            f"{'green' if code == 0 else 'RED'}   the checkout as it is ({test}, {shape}, {seconds:.0f} s)", flush=True
        )
        if code != 0:
            print(output[-6_000:])
            return 1
    killed = 0
    for mutant in chosen:
        noticed, line = _judge(mutant)
        killed += noticed
        print(line, flush=True)
    print(f"{killed} of {len(chosen)} mutants killed")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
