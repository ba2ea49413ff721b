"""The data folder of the embedded shape: made, checked and locked before anything in it is opened."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from services.errors import ServiceError

__all__ = ["DataFolder", "DataFolderInUse", "DataFolderUnwritable"]

_LOCK: Final = "lock"
_WAY_OUT: Final = "Give this user the right and the room to write there, or choose another folder with DATA_DIR="


class DataFolderUnwritable(ServiceError):
    """The data folder cannot be written to. Give this user the right to, or choose another with PARCOURS_DATA_DIR."""

    code = "data_folder_unwritable"


class DataFolderInUse(ServiceError):
    """Another process works in this data folder. Stop it, or choose another folder with PARCOURS_DATA_DIR."""

    code = "data_folder_in_use"


class DataFolder:
    """A folder that one process at a time works in. The lock ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Nothing is touched yet."""
        self.path = path
        self._lock: IO[str] | None = None

    def make(self) -> None:
        """Make the folder if need be (for this user only), and see that it can be written to.

        Raises `DataFolderUnwritable`.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise DataFolderUnwritable(
                f"The data folder {self.path} is a file. Remove it, or choose another folder with DATA_DIR=."
            ) from error
        except OSError as error:
            raise self._refused("cannot be made", error) from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise DataFolderUnwritable(f"The data folder {self.path} is not writable. {_WAY_OUT}.")

    def lock(self) -> None:
        """Make the folder and lock it for this process. Raises `DataFolderUnwritable`, `DataFolderInUse`."""
        self.make()
        try:
            lock = (self.path / _LOCK).open("a+")
        except OSError as error:
            raise self._refused("is not writable", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read(32).strip()
            lock.close()
            by = f"process {holder}" if holder.isdigit() else "another process"
            raise DataFolderInUse(
                f"The data folder {self.path} is already in use by {by}."
                " Stop that one first, or choose another folder with DATA_DIR=."
            ) from error
        try:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        except OSError as error:
            # Closing writes what is left of the buffer, and fails like the first time.
            with suppress(OSError):
                lock.close()
            raise self._refused("is not writable", error) from error
        self._lock = lock

    def _refused(self, problem: str, error: OSError) -> DataFolderUnwritable:
        reason = (error.strerror or "unknown error").lower()
        return DataFolderUnwritable(f"The data folder {self.path} {problem}: {reason}. {_WAY_OUT}.")

    def unlock(self) -> None:
        """Let others have it. Idempotent."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
