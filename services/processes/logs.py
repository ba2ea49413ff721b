"""What a process writes to its standard error: one line per event, a dotted name and fields."""

import json
import logging
import sys
from collections.abc import Mapping
from typing import Final

from schemas.times import format_instant

__all__ = ["configure_logging"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_MUTE: Final = ("aiokafka",)
_QUIET: Final = ("asyncio", "uvicorn", "httpx", "httpcore")
_DISCREET: Final = ("sqlalchemy", "mail.log")


class _Lines(logging.Formatter):
    """One line per event; a trace only at DEBUG."""

    def __init__(self, traces: bool) -> None:
        super().__init__()
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """One line; line breaks inside values are escaped."""
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            fields["kind"] = record.exc_info[0].__name__
        trace = self.formatException(record.exc_info) if self._traces and record.exc_info else None
        time = format_instant(int(record.created * 1000))
        return self.written(time, record.levelname, " ".join(record.getMessage().split()), fields, trace)

    def written(self, time: str, level: str, name: str, fields: Mapping[str, object], trace: str | None) -> str:
        """``time level name field=value ...``, and the trace below it."""
        told = "".join(f" {field}={_shown(value)}" for field, value in fields.items())
        return f"{time} {level:<7} {name}{told}" + ("" if trace is None else f"\n{trace}")


class _Objects(_Lines):
    """The same as a JSON object: ``time``, ``level``, ``event``, the fields, and ``trace``."""

    def written(self, time: str, level: str, name: str, fields: Mapping[str, object], trace: str | None) -> str:
        """One object on one line, in ASCII."""
        told = {"time": time, "level": level, "event": name, **fields} | ({} if trace is None else {"trace": trace})
        return json.dumps(told, default=str)


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)


def configure_logging(level: str, form: str = "text") -> None:
    """Log to standard error from `level` on, as text or json; libraries only from warnings on, unless it is DEBUG."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((_Objects if form == "json" else _Lines)(traces=level == "DEBUG"))
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    debugging = level == "DEBUG"
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if debugging else logging.WARNING)
    for name in _DISCREET:
        # They would tell what is stored and sent: personal data is in no log, at no level.
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _MUTE:
        # It reports every passing trouble of a starting or moving broker; what lasts comes to us as an error.
        logging.getLogger(name).setLevel(logging.INFO if debugging else logging.CRITICAL)
