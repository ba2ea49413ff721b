"""The first keys: made when there are none yet, and written where their owner finds them."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select

from schemas.ids import DEFAULT_WORKSPACE
from services.settings import Settings
from services.storage.database import Database
from services.storage.keys import ALL_SCOPES, PREFIXES, Key, KeyKind, Scope, add_key, keys_table, lock_keys

__all__ = ["CREDENTIALS_FILE", "Created", "ensure_keys"]

CREDENTIALS_FILE: Final = "credentials.env"
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[A-Za-z0-9_.:/@+-]*$")
_VARIABLES: Final = {KeyKind.WRITE: "PARCOURS_WRITE_KEY", KeyKind.API: "PARCOURS_API_TOKEN"}


@dataclass(frozen=True, slots=True)
class Created:
    """What `ensure_keys` did: the secrets it made (None: given by the environment, or made earlier), and their file."""

    write_key: str | None
    api_token: str | None
    path: Path


def ensure_keys(settings: Settings, database: Database, clock: Callable[[], int], draw: Callable[[], str]) -> Created:
    """Make sure that there is a write key and an API token: given by the settings, stored, or made now.

    `draw` draws a secret that is safe in a URL and a shell (`Ids.secret`). What is made now is written to
    `credentials.env` in the data folder (mode 0600, atomically) before it becomes valid; what the environment gives is
    written nowhere. The table must exist.
    Raises `StorageError`, `OSError` when the file cannot be written.
    """
    path = settings.data_dir / CREDENTIALS_FILE
    given = {KeyKind.WRITE: settings.write_key, KeyKind.API: settings.api_token}
    made: dict[KeyKind, str] = {}
    with database.transaction() as transaction:
        lock_keys(transaction)
        connection, ends = transaction.connection, keys_table.c.expires_at
        valid = keys_table.c.revoked_at.is_(None) & (ends.is_(None) | (ends > clock()))
        active = select(keys_table.c.kind).where(valid)
        stored = set(connection.execute(active.distinct()).scalars())
        for kind in KeyKind:
            if given[kind] is None and kind.value not in stored:
                made[kind] = PREFIXES[kind] + draw()
        if made:
            _write_credentials(path, {_VARIABLES[kind]: secret for kind, secret in made.items()})
        for kind, secret in made.items():
            scopes = ALL_SCOPES if kind is KeyKind.API else frozenset[Scope]()
            add_key(connection, secret, Key(kind, DEFAULT_WORKSPACE, "default", scopes), clock())
    return Created(made.get(KeyKind.WRITE), made.get(KeyKind.API), path)


def _write_credentials(path: Path, values: Mapping[str, str]) -> None:
    # Shells read this file too: a line that is no assignment would end them.
    kept = [line for line in _lines(path) if _ASSIGNMENT.match(line) and line.partition("=")[0] not in values]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in values.items())]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return ()
