"""`parcours redrive`: asks a running server to send rejected events through the door again."""

import argparse
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from services.errors import ServiceError

if TYPE_CHECKING:
    import httpx

    from services.settings import Settings

__all__ = ["NoToken", "RedriveRefused", "add_redrive_command", "run_redrive"]

_DESCRIPTION = (
    "Sends rejected events through the door again, each once, with the times and ids that they had. What would be"
    " rejected again stays as it is. Asks a running server, with an API token that may administer: the one in"
    " PARCOURS_API_TOKEN, or else in credentials.env in the data folder."
)
_AT_ONCE = 1_000
_TIMEOUT = 120.0
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


class NoToken(ServiceError):
    """There is no API token. Set PARCOURS_API_TOKEN, or DATA_DIR= to the folder with credentials.env."""

    code = "no_token"


class RedriveRefused(ServiceError):
    """The server does not redrive. Its answer says why."""

    code = "redrive_refused"


def add_redrive_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `redrive` to the command line; its function gets (arguments, settings) and returns the exit code."""
    parser = subparsers.add_parser(
        "redrive", help="send rejected events through the door again", description=_DESCRIPTION
    )
    parser.add_argument("--reason", help="only those rejected with this code")
    parser.add_argument("--source", help="only those of this source")
    parser.add_argument("--before", metavar="T", help="only those rejected before this time")
    parser.add_argument("--dry-run", action="store_true", help="say what would become of them, and do nothing")
    parser.add_argument("--url", help="where the server answers (default: by the settings)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=run_redrive)


def run_redrive(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Redrive and print what became of it; 0. Raises what a user can mend."""
    import httpx

    host = "127.0.0.1" if settings.host in _EVERYWHERE else settings.host
    url = (arguments.url or replace(settings, host=host).address).rstrip("/")
    headers = {"Authorization": f"Bearer {_token(settings)}"}
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False) as client:
        counts = _redrive(client, arguments)
    if arguments.json:
        print(json.dumps({"dry_run": arguments.dry_run, **counts}, indent=2))
        return 0
    print(f"{counts['accepted']:>12,}  {'would be accepted' if arguments.dry_run else 'accepted'}")
    for code, number in sorted(counts["rejected"].items()):
        print(f"{number:>12,}  still rejected: {code}")
    for reason, number in sorted(counts["skipped"].items()):
        print(f"{number:>12,}  skipped: {reason}")
    return 0


def _redrive(client: "httpx.Client", arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {"reason": arguments.reason, "source": arguments.source, "before": arguments.before}
    body = {name: value for name, value in asked.items() if value is not None}
    body |= {"limit": _AT_ONCE, "dry_run": arguments.dry_run}
    accepted, rejected, skipped = 0, Counter[str](), Counter[str]()
    while True:
        answer = _answer(client, body)
        accepted += answer["accepted"]
        rejected.update(answer["rejected"])
        skipped.update(answer["skipped"])
        if answer["next"] is None:
            return {"accepted": accepted, "rejected": dict(rejected), "skipped": dict(skipped)}
        body["cursor"] = answer["next"]


def _answer(client: "httpx.Client", body: dict[str, Any]) -> dict[str, Any]:
    """One answer of the server. Raises `ServerSilent`, `RedriveRefused`."""
    import httpx

    from services.demo.watching import ServerSilent

    try:
        answer = client.post("/v1/rejected/redrive", json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerSilent(
            f"{client.base_url} does not answer. Start it with `make run`, or give its address with --url."
        ) from error
    try:
        found = answer.json()
    except ValueError:
        found = {}
    if answer.status_code != 200 or not isinstance(found, dict):
        raise RedriveRefused(f"{client.base_url} answered {answer.status_code}: {found.get('detail', 'no reason')}")
    return found


def _token(settings: "Settings") -> str:
    """The API token. Raises `NoToken`."""
    from services.storage.first_keys import CREDENTIALS_FILE

    if settings.api_token is not None:
        return settings.api_token
    path = settings.data_dir / CREDENTIALS_FILE
    if path.is_file():
        for line in path.read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "PARCOURS_API_TOKEN":
                return value
    raise NoToken
