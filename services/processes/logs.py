"""What a process writes to its standard error: one line per event, a dotted name and fields."""

import logging
import sys
from typing import Final

from schemas.times import format_instant

__all__ = ["configure_logging"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_MUTE: Final = ("aiokafka",)
_QUIET: Final = ("asyncio", "uvicorn", "httpx", "httpcore", "sqlalchemy", "mail.log")


class _Line(logging.Formatter):
    """``time level name field=value ...``; a trace follows only at DEBUG."""

    def __init__(self, traces: bool) -> None:
        super().__init__()
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """One line; line breaks inside values are escaped."""
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            fields["kind"] = record.exc_info[0].__name__
        told = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
        text = " ".join(record.getMessage().split())
        line = f"{format_instant(int(record.created * 1000))} {record.levelname:<7} {text}{told}"
        if self._traces and record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)


def configure_logging(level: str) -> None:
    """Log to standard error from `level` on; libraries only from warnings on, unless it is DEBUG."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(traces=level == "DEBUG"))
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    debugging = level == "DEBUG"
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if debugging else logging.WARNING)
    for name in _MUTE:
        # It reports every passing trouble of a starting or moving broker; what lasts comes to us as an error.
        logging.getLogger(name).setLevel(logging.INFO if debugging else logging.CRITICAL)
