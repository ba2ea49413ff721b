"""An SMTP server that counts how often it was given each mail, and can be told to keep its answers back."""

import asyncio
from collections import Counter
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from types import TracebackType
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from localservers.processes import LOOPBACK

__all__ = ["MailSink"]


class _FreePort(Controller):
    def _trigger_server(self) -> None:
        # The port is only known once the server listens on it.
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        trigger: Callable[[], None] = super()._trigger_server
        trigger()


class MailSink:
    """Runs in a thread of its own. `taken` counts the mails by Message-ID, also those whose answer was never heard."""

    def __init__(self, answer_seconds: float = 0.02) -> None:
        """`answer_seconds`: how long it thinks about every mail, so that a sender can die meanwhile."""
        self.taken: Counter[str] = Counter()
        self._answer_seconds = answer_seconds
        self._silent = False
        self._controller = _FreePort(self, hostname=LOOPBACK, port=0)

    def __enter__(self) -> Self:
        """Listen."""
        self._controller.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Stop."""
        self._controller.stop()

    @property
    def url(self) -> str:
        """What PARCOURS_SMTP_URL says."""
        return f"smtp://{LOOPBACK}:{self._controller.port}"

    def be_silent(self, silent: bool) -> None:
        """Take mails, but do not say so, until told otherwise."""
        self._silent = silent

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  the name that the server looks for
        """Take a mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        self.taken[str(message_from_bytes(content, policy=default)["Message-ID"])] += 1
        await asyncio.sleep(self._answer_seconds)
        while self._silent:  # noqa: ASYNC110 - told from another thread
            await asyncio.sleep(0.02)
        return "250 Taken"
