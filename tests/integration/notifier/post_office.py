"""A real SMTP server in this process: takes what it is given, or answers what it is told to."""

import asyncio
import socket
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

__all__ = ["PostOffice"]


class _FreePort(Controller):
    def _trigger_server(self) -> None:
        # The port is only known once the server listens on it.
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        trigger: Callable[[], None] = super()._trigger_server
        trigger()


class PostOffice:
    """`taken` are the mails that were accepted. `answers` are given to the next mails (RCPT and DATA) instead."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.recipient_answers: list[str] = []
        self.data_answers: list[str] = []
        self._controller = _FreePort(self, hostname="127.0.0.1", port=0)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        """What PARCOURS_SMTP_URL would say."""
        return f"smtp://127.0.0.1:{self._controller.port}"

    def mails(self) -> list[EmailMessage]:
        """What was accepted, parsed."""
        contents = [envelope.content for envelope in self.taken]
        return [message_from_bytes(content, policy=default) for content in contents if isinstance(content, bytes)]

    async def handle_RCPT(  # noqa: N802  the name that the server looks for
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Accept the recipient, or answer what the test wants."""
        if self.recipient_answers:
            return self.recipient_answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  as above
        """Accept the mail, or answer what the test wants; ``hang up`` accepts it without saying so."""
        answer = self.data_answers.pop(0) if self.data_answers else "250 Taken"
        if answer.startswith("250") or answer == "hang up":
            self.taken.append(envelope)
        if answer == "hang up":
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return answer


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
