"""Write schemas/published/ from the models: `make schemas`. A published file is never changed: exit code 2 says so."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from schemas.contracts import CONTRACTS, Contract, promise

FOLDER = Path(__file__).resolve().parent.parent / "schemas" / "published"
CHECKSUMS = "CHECKSUMS"


def checksums(folder: Path) -> dict[str, str]:
    """Path below `folder` to SHA-256, of the list beside the published files; empty when there is none yet."""
    file = folder / CHECKSUMS
    lines = file.read_text().splitlines() if file.exists() else []
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def digest_of(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def refusals(contracts: Sequence[Contract], folder: Path) -> list[str]:
    """Why nothing may be written: a published file was touched, or a model no longer gives what was promised."""
    found = []
    listed = checksums(folder)
    for path, digest in listed.items():
        if not (folder / path).exists():
            found.append(f"{path} was published and is gone; restore it.")
        elif digest_of(folder / path) != digest:
            found.append(f"{path} was published and has been edited; restore it.")
    for contract in contracts:
        file = folder / contract.path
        if (
            contract.path in listed
            and file.exists()
            and promise(json.loads(file.read_text())) != promise(contract.schema())
        ):
            found.append(f"{contract.path} is published, and its model has changed; publish it as a new version.")
    return found


def publish(contracts: Sequence[Contract], folder: Path) -> list[str]:
    """Write the versions that are not published yet, and the list of checksums; return their paths."""
    listed = checksums(folder)
    new = [contract for contract in contracts if contract.path not in listed]
    for contract in new:
        file = folder / contract.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(contract.schema(), indent=2, ensure_ascii=False) + "\n")
        listed[contract.path] = digest_of(file)
    if new:
        (folder / CHECKSUMS).write_text(_lines(listed))
    return [contract.path for contract in new]


def _lines(listed: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(listed.items()))


def main(contracts: Sequence[Contract] = CONTRACTS, folder: Path = FOLDER) -> int:
    """Publish, or refuse. Returns the exit code."""
    refused = refusals(contracts, folder)
    if refused:
        print("\n".join(refused), file=sys.stderr)
        return 2
    for path in publish(contracts, folder):
        print(f"published {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
