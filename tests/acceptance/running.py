"""`parcours <command>` as a person starts it: what it prints, line by line, until it ends or is told to."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["CHECKOUT", "Started"]

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR")


class Started:
    """A started command in a folder of its own. Use it as a context: at the end it is killed if it still runs."""

    def __init__(self, folder: Path, command: Sequence[str], settings: Mapping[str, str]) -> None:
        """`settings` is the environment, beside what every program needs; `folder` is the working folder."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.environment = {
            **kept, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1",
            "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions"), **settings,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *command],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._lines.append("")
            self._news.notify_all()

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def output(self) -> str:
        """Everything printed so far."""
        with self._news:
            return "\n".join(self._lines)

    def line(self, pattern: str, seconds: float = 30.0) -> re.Match[str]:
        """Wait for a line that holds `pattern`; fails with all that was printed when it does not come."""

        def found() -> re.Match[str] | None:
            return next((match for text in self._lines if (match := re.search(pattern, text))), None)

        with self._news:
            arrived = self._news.wait_for(lambda: found() or not self._reader.is_alive(), seconds)
            match = found()
        assert match is not None, f"no line with {pattern!r} ({'ended' if arrived else 'in time'}):\n{self.output}"
        return match

    def interrupt(self) -> int:
        """Ctrl-C, as a terminal sends it: to the whole process group; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(25)
