"""`parcours keys`: write keys and API tokens, straight on the database, beside a running system or without one."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from schemas.times import DAY, InvalidTime, format_instant, parse_duration

if TYPE_CHECKING:
    from services.settings import Settings
    from services.storage.key_admin import KeyAdmin, KeyInfo, MadeKey

__all__ = ["add_keys_commands"]

_DESCRIPTION = (
    "Makes, lists, replaces and revokes write keys and API tokens. Works on the database itself, so it needs no token"
    " and may run while the system does, which knows of a change within a minute."
)
_LONGEST_LIFE = 3_650 * DAY
_LONGEST_GRACE = 7 * DAY
_NAME_LENGTH = 64


def add_keys_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `keys` to the command line; its functions get (arguments, settings) and return the exit code."""
    parser = subparsers.add_parser("keys", help="make, list, replace and revoke keys", description=_DESCRIPTION)
    actions = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    create = _action(actions, "create", "make a key and print its secret, once", _create)
    create.add_argument("--kind", choices=("write", "token"), default="write", help="default: write")
    create.add_argument(
        "--source", type=_source, default="default", help="name of the events' source (default: default)"
    )
    create.add_argument("--scopes", type=_scopes, default=(), help="a token's: read, write, admin, with commas between")
    create.add_argument("--name", type=_name, help="what it is for, in your words")
    create.add_argument("--expires-in", type=_duration(1, _LONGEST_LIFE), metavar="90d", help="default: never")
    listing = _action(actions, "list", "list the keys, without their secrets", _list)
    listing.add_argument("--all", action="store_true", help="also those that were revoked or have expired")
    rotate = _action(actions, "rotate", "make a key that takes the place of another", _rotate)
    rotate.add_argument("id", help="as `parcours keys list` shows it")
    rotate.add_argument(
        "--grace",
        type=_duration(0, _LONGEST_GRACE),
        default=0,
        metavar="24h",
        help="how long the old one lasts",
    )
    revoke = _action(actions, "revoke", "end a key", _revoke)
    revoke.add_argument("id", help="as `parcours keys list` shows it")


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    what: str,
    run: Callable[[argparse.Namespace, "Settings"], int],
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.add_argument("--workspace", default="default", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=run)
    return parser


def _create(arguments: argparse.Namespace, settings: "Settings") -> int:
    from services.storage.key_admin import NewKey
    from services.storage.keys import KeyKind

    kind = KeyKind(arguments.kind)
    if (kind is KeyKind.API) != bool(arguments.scopes):
        raise _unusable("A token needs --scopes, a write key has none.")
    with _administration(settings) as (admin, now):
        ends = None if arguments.expires_in is None else now() + arguments.expires_in
        wanted = NewKey(kind, arguments.source, arguments.scopes, arguments.name, ends)
        _print_made(arguments, admin.create(arguments.workspace, wanted), now())
    return 0


def _rotate(arguments: argparse.Namespace, settings: "Settings") -> int:
    with _administration(settings) as (admin, now):
        _print_made(arguments, admin.rotate(arguments.workspace, arguments.id, arguments.grace), now())
    return 0


def _revoke(arguments: argparse.Namespace, settings: "Settings") -> int:
    with _administration(settings) as (admin, _now):
        admin.revoke(arguments.workspace, arguments.id)
    if arguments.json:
        print(json.dumps({"id": arguments.id, "state": "revoked"}))
    else:
        print(f"{arguments.id} is revoked. Running processes stop taking it within a minute.")
    return 0


def _list(arguments: argparse.Namespace, settings: "Settings") -> int:
    with _administration(settings) as (admin, now):
        at = now()
        keys = [info for info in admin.keys(arguments.workspace) if arguments.all or info.state(at) == "active"]
    if arguments.json:
        print(json.dumps({"keys": [_as_json(info, at) for info in keys]}, indent=2))
        return 0
    for info in keys:
        what = " ".join(sorted(info.key.scopes)) or f"source {info.key.source}"
        until = "" if info.key.expires_at is None else f"  until {format_instant(info.key.expires_at)}"
        print(
            f"{info.key.id:<20}  {info.key.kind:<5}  {info.state(at):<7}  {what}  {info.name or info.hint or ''}{until}"
        )
    return 0


def _print_made(arguments: argparse.Namespace, made: "MadeKey", now: int) -> None:
    if arguments.json:
        print(json.dumps({"key": _as_json(made.info, now), "secret": made.secret}, indent=2))
        return
    print(made.secret)
    print(f"It is {made.info.key.id}. Keep the secret now: only its hash is stored, nobody can show it again.")


def _as_json(info: "KeyInfo", now: int) -> dict[str, object]:
    key = asdict(info.key)
    instants = {"created_at": info.created_at, "expires_at": info.key.expires_at, "revoked_at": info.revoked_at}
    return {
        **{name: key[name] for name in ("id", "kind", "source")},
        "scopes": sorted(info.key.scopes),
        "state": info.state(now),
        "name": info.name,
        "hint": info.hint,
        "given": info.given,
        "replaced_by": info.replaced_by,
        **{name: None if at is None or info.given else format_instant(at) for name, at in instants.items()},
    }


@contextmanager
def _administration(settings: "Settings") -> "Iterator[tuple[KeyAdmin, Callable[[], int]]]":
    """The keys of the system that the settings name, and the clock. Raises what a user can mend."""
    from services.bootstrap import make_container
    from services.storage.errors import StorageUnreachable
    from services.storage.key_admin import KeyAdmin
    from services.storage.keys import given_keys, keys_metadata

    if not settings.cluster and not (settings.data_dir / "ingest.db").is_file():
        raise StorageUnreachable(f"There is no data in {settings.data_dir}. Set DATA_DIR= to the folder of the system.")
    container = make_container(settings)
    try:
        database = container.databases["ingest"]
        database.ping()
        database.check(keys_metadata)
        yield KeyAdmin(database, container.clock, container.ids, given_keys(settings)), container.clock.now
    finally:
        container.close()


def _unusable(sentence: str) -> Exception:
    from services.errors import InvalidSetting

    return InvalidSetting(sentence)


def _source(text: str) -> str:
    from services.storage.sources import SOURCE_NAME

    if not SOURCE_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("a source is named by 1 to 64 letters, digits, dots, dashes, underscores")
    return text


def _name(text: str) -> str:
    if not (text.isprintable() and 1 <= len(text) <= _NAME_LENGTH):
        raise argparse.ArgumentTypeError("a name is printable text of 1 to 64 characters")
    return text


def _scopes(text: str) -> frozenset[str]:
    from services.storage.keys import Scope

    try:
        return frozenset(Scope(part.strip()) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("scopes are read, write and admin, with commas between") from None


def _duration(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            found = parse_duration(text)
        except InvalidTime as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        if not low <= found <= high:
            raise argparse.ArgumentTypeError(f"a duration of at most {high // DAY}d")
        return found

    return read
