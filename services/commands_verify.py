"""`parcours verify`: says whether nothing is lost, nothing is there twice, and every journey is what its events say."""

import argparse
import asyncio
import json
from typing import TYPE_CHECKING

from services.settings import Settings

if TYPE_CHECKING:
    from services.runtime.verification import Findings

__all__ = ["add_verify_command", "run_verify"]

_DESCRIPTION = (
    "Checks a live system: no accepted event is missing, no change is published twice, additions and retractions"
    " alternate, sequences have no gap, and every customer's journey is the fold of their events."
)
_CHECKS = {
    "accepted": "no accepted event is missing",
    "sequences": "sequences are dense, each exactly once",
    "changes": "no change twice; added and retracted alternate",
    "standing": "database and topics agree on what stands",
    "journeys": "every journey is the fold of its events",
}


def add_verify_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `verify` to the command line; its function gets (arguments, settings) and returns the exit code."""
    parser = subparsers.add_parser(
        "verify", help="check a live system for anything lost or doubled", description=_DESCRIPTION
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--customers", type=int, default=0, help="fold only so many customers again (default: all)")
    parser.set_defaults(command=run_verify)


def run_verify(arguments: argparse.Namespace, settings: Settings) -> int:
    """Verify and print; 0 when everything holds, 1 when something does not. Raises what a user can mend."""
    findings = asyncio.run(_verify(settings, max(0, arguments.customers)))
    if arguments.json:
        print(json.dumps(_as_json(findings), indent=2))
    else:
        _print(findings)
    return 0 if findings.holds else 1


async def _verify(settings: Settings, customers: int) -> "Findings":
    from services.bootstrap import SERVICES, check, make_container
    from services.storage.errors import StorageUnreachable
    from services.verify import verify

    if not settings.cluster and not (settings.data_dir / "log.db").is_file():
        raise StorageUnreachable(f"There is no data in {settings.data_dir}. Set DATA_DIR= to the folder of the system.")
    container = make_container(settings)
    try:
        for service in SERVICES:
            await asyncio.to_thread(container.databases[service].ping)
        await container.log.start()
        try:
            await check(container)
            return await verify(container, customers)
        finally:
            await container.log.close()
    finally:
        container.close()


def _as_json(findings: "Findings") -> dict[str, object]:
    return {
        "holds": findings.holds,
        "counts": dict(sorted(findings.counts.items())),
        "failures": {name: findings.failures.get(name, 0) for name in _CHECKS},
        "violations": [violation._asdict() for violation in findings.violations],
    }


def _print(findings: "Findings") -> None:
    for what, number in sorted(findings.counts.items()):
        print(f"{number:>12,}  {what}")
    for name, meaning in _CHECKS.items():
        failures = findings.failures.get(name, 0)
        print(f"{'ok' if not failures else f'{failures:,} WRONG':>12}  {meaning}")
    for violation in findings.violations:
        print(f"{violation.check}: {violation.sentence}")
