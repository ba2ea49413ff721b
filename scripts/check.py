"""Everything that is checked without running Parcours: `make check`, or scripts/check.py NAME... for some of it.

Each check prints one line; what failed prints its output. The exit code is 1 if any failed, 2 for an unknown name.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
YAML_RULES = "{extends: relaxed, rules: {line-length: disable, colons: disable, commas: disable}}"
CHECKS: dict[str, list[str]] = {
    "lint": ["ruff", "check", "--quiet", "."],
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "types": ["mypy", "--no-error-summary"],
    "imports": ["lint-imports", "--no-logo"],
    "yaml": ["yamllint", "--strict", "-d", YAML_RULES, "docker-compose.yml", "definitions"],
    "compose": ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
    "dockerfile": ["hadolint", "--no-color", "Dockerfile"],
    "links": ["python", "-m", "scripts.links"],
    "reference": ["python", "-m", "scripts.reference", "--check"],
}


def run(name: str, command: list[str]) -> bool:
    """Run one check from the checkout's root; whether it passed."""
    started = time.monotonic()
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    verdict = "ok" if done.returncode == 0 else "FAILED"
    print(f"{name:<12}{verdict:<8}{time.monotonic() - started:5.1f} s", flush=True)
    if done.returncode != 0:
        print(done.stdout.rstrip(), flush=True)
    return done.returncode == 0


def main(names: list[str]) -> int:
    """Run the named checks, or all; returns the exit code."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"There is no check {unknown[0]}: choose from {', '.join(CHECKS)}.", file=sys.stderr)
        return 2
    failed = [name for name in names or CHECKS if not run(name, CHECKS[name])]
    if failed:
        print(f"Failed: {', '.join(failed)}. `make format` mends format and much of lint.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
