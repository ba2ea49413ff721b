"""`parcours keys`: on the database of a system, whether it runs or not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.cli import main
from services.settings import Settings
from services.storage.database import Database
from services.storage.first_keys import ensure_keys
from services.storage.keys import KeyKind, KeyRing, Scope, keys_metadata

NOW = 1_795_358_000_000

Command = Callable[..., tuple[int, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder after the first start; the command line finds it."""
    database = Database(tmp_path / "ingest.db")
    database.create(keys_metadata)
    ensure_keys(Settings(data_dir=tmp_path), database, lambda: NOW, iter(("a" * 32, "b" * 32)).__next__)
    database.close()
    monkeypatch.setenv("PARCOURS_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `parcours keys`; answers the exit code and what it printed as JSON, or its complaint."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main(["keys", *arguments, "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else printed.err

    return run


async def source_of(folder: Path, secret: str) -> str | None:
    """The source of a write key, as a process that starts now knows it."""
    database = Database(folder / "ingest.db")
    found = await KeyRing(database, lambda: NOW).source(secret)
    database.close()
    return None if found is None else found.name


async def test_a_key_is_made_replaced_and_revoked(folder: Path, keys: Command) -> None:
    code, made = keys("create", "--source", "shop", "--name", "web shop")
    assert code == 0
    assert await source_of(folder, made["secret"]) == "shop"
    code, new = keys("rotate", made["key"]["id"], "--grace", "0s")
    assert code == 0
    assert await source_of(folder, made["secret"]) is None
    assert await source_of(folder, new["secret"]) == "shop"
    assert keys("revoke", new["key"]["id"]) == (0, {"id": new["key"]["id"], "state": "revoked"})
    assert await source_of(folder, new["secret"]) is None
    listed = keys("list")[1]["keys"]
    assert {(key["kind"], key["state"]) for key in listed} == {("write", "active"), ("token", "active")}
    everything = keys("list", "--all")[1]["keys"]
    assert [key["state"] for key in everything if key["name"] == "web shop"] == ["revoked", "revoked"]
    assert made["secret"] not in json.dumps(everything)


async def test_a_token_gets_the_scopes_it_is_given(folder: Path, keys: Command) -> None:
    _, made = keys("create", "--kind", "token", "--scopes", "read,write", "--expires-in", "1d")
    database = Database(folder / "ingest.db")
    token = await KeyRing(database, lambda: NOW).find(KeyKind.API, made["secret"])
    database.close()
    assert token is not None
    assert token.scopes == {Scope.READ, Scope.WRITE}
    assert token.expires_at is not None


def test_people_read_the_secret_on_a_line_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create"]) == 0
    secret, said = capsys.readouterr().out.splitlines()
    assert secret.startswith("wk_")
    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert secret not in listed
    assert said.split()[2].rstrip(".") in listed


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["revoke", "key-0000000000000000"], "unknown_key"),
        (["revoke", "nonsense"], "unknown_key"),
        (["rotate", "../.."], "unknown_key"),
        (["create", "--kind", "token"], "invalid_setting"),
        (["create", "--scopes", "read"], "invalid_setting"),
    ],
)
def test_what_cannot_be_is_one_sentence_with_a_code(keys: Command, arguments: list[str], code: str) -> None:
    exit_code, complaint = keys(*arguments)
    assert exit_code == 2
    assert complaint.strip().endswith(f"[{code}]")
    assert len(complaint.strip().splitlines()) == 1


def test_the_last_admin_token_and_given_keys_stay(keys: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (token,) = [key["id"] for key in keys("list")[1]["keys"] if key["kind"] == "token"]
    assert keys("revoke", token)[1].strip().endswith("[last_admin_token]")
    monkeypatch.setenv("PARCOURS_API_TOKEN", "given")
    assert keys("revoke", "given-api-token")[1].strip().endswith("[key_given]")
    assert keys("revoke", token)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--source", "a b"],
        ["create", "--source", "x" * 65],
        ["create", "--name", ""],
        ["create", "--kind", "token", "--scopes", "all"],
        ["create", "--expires-in", "0s"],
        ["create", "--expires-in", "99999w"],
        ["rotate", "key-0000000000000000", "--grace", "8d"],
        ["rotate", "key-0000000000000000", "--grace", "soon"],
    ],
)
def test_arguments_that_mean_nothing_are_refused_before_anything_is_touched(
    keys: Command, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        keys(*arguments)
    assert ended.value.code == 2
    assert "error: argument" in capsys.readouterr().err


def test_a_folder_without_data_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARCOURS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "list"]) == 2
    assert str(tmp_path / "nothing") in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
