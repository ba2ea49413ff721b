"""Mail over SMTP: one message a connection, and an honest answer about what became of it."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import aiosmtplib

from notifier.composer import EMAIL
from notifier.domain.model import Message
from notifier.errors import InvalidMailFrom, InvalidSmtpUrl
from notifier.ports import Delivery

__all__ = ["EmailChannel", "SmtpServer", "mime_of", "parse_smtp_url"]

_CONNECT_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 20.0
_OPENING_SECONDS: Final = 50.0
_DATA_SECONDS: Final = 60.0
_DETAIL: Final = 200
_PORTS: Final = {"smtp": 25, "smtps": 465}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_TLS: Final[dict[str, bool | None]] = {"auto": None, "always": True, "never": False}
_SENDER = re.compile(r"[^\s<>@]+@[^\s<>@]+")


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over. `tls`: from the first byte on; `start_tls`: None takes it when it is offered."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    start_tls: bool | None = None


def parse_smtp_url(url: str) -> SmtpServer:
    """The server of ``smtp://user:password@host:port`` (STARTTLS when offered) or ``smtps://...`` (TLS at once).

    ``?starttls=always|auto|never`` says otherwise. With a password to another machine, STARTTLS is always demanded.
    Raises `InvalidSmtpUrl`; the message never holds the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        raise InvalidSmtpUrl("PARCOURS_SMTP_URL is no URL. Give smtp://user:password@host:port.") from error
    if parts.scheme not in _PORTS or not host or parts.path not in ("", "/") or parts.fragment:
        raise InvalidSmtpUrl("PARCOURS_SMTP_URL must look like smtp://user:password@host:port or smtps://host.")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    wanted = options.pop("starttls", "auto")
    if options or wanted not in _TLS:
        raise InvalidSmtpUrl("PARCOURS_SMTP_URL knows one option: ?starttls=always, auto or never.")
    if (parts.username is None) != (parts.password is None):
        raise InvalidSmtpUrl("PARCOURS_SMTP_URL needs both a user and a password, or neither. Encode : / @ in them.")
    tls = parts.scheme == "smtps"
    start_tls = _TLS[wanted]
    if parts.password is not None and wanted == "auto" and host not in _LOOPBACK:
        start_tls = True
    return SmtpServer(
        host=host,
        port=port or _PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username is not None else None,
        password=unquote(parts.password) if parts.password is not None else None,
        tls=tls,
        start_tls=False if tls else start_tls,
    )


def mime_of(message: Message) -> EmailMessage:
    """The mail: multipart/alternative, the same bytes whenever it is made. Raises `ValueError` for a bad header."""
    domain = parseaddr(message.sender)[1].rpartition("@")[2]
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"] = message.sender
    mail["To"] = message.recipient
    mail["Subject"] = message.subject_line
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.created_at / 1000, UTC))
    mail["Message-ID"] = f"<{message.decision_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["Content-Language"] = message.locale
    mail.set_content(message.text, cte="quoted-printable")
    mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
    mail.set_boundary(f"=_{message.decision_id}")
    return mail


class EmailChannel:
    """Sends mail. Nothing is known to be sent until the server said so after the content."""

    name = EMAIL

    def __init__(self, server: SmtpServer, mail_from: str) -> None:
        """Raises `InvalidMailFrom` when `mail_from` holds no address."""
        address = parseaddr(mail_from)[1]
        if not _SENDER.fullmatch(address):
            raise InvalidMailFrom
        self._server = server
        self._sender = address
        self._hostname = address.rpartition("@")[2]

    async def deliver(self, message: Message) -> Delivery:
        """Hand one message over. See `notifier.ports.Delivery` for the answers."""
        try:
            content = mime_of(message).as_bytes()
        except ValueError:
            return Delivery("failed", "The message has a header that no mail may have.")
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            username=self._server.username,
            password=self._server.password,
            use_tls=self._server.tls,
            start_tls=self._server.start_tls,
            local_hostname=self._hostname,
            timeout=_COMMAND_SECONDS,
        )
        try:
            opened = await self._open(client, message.recipient)
            return await _hand_over(client, content) if opened is None else opened
        finally:
            client.close()

    async def _open(self, client: aiosmtplib.SMTP, recipient: str) -> Delivery | None:
        """Everything before the content: until here nothing is sent, so what goes wrong may be tried again."""
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                await client.connect(timeout=_CONNECT_SECONDS)
                await client.mail(self._sender)
                await client.rcpt(recipient)
        except aiosmtplib.SMTPRecipientRefused as error:
            return Delivery(_kind_of(error.code), _detail(error.code, error.message))
        except aiosmtplib.SMTPResponseException as error:
            return Delivery("retry", _detail(error.code, error.message))
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return Delivery("retry", f"The mail server cannot be used: {str(error)[:_DETAIL]}")
        except ValueError:
            return Delivery("failed", "The address is none that mail can be sent to.")
        return None


async def _hand_over(client: aiosmtplib.SMTP, content: bytes) -> Delivery:
    try:
        async with asyncio.timeout(_DATA_SECONDS):
            answer = await client.data(content)
    except aiosmtplib.SMTPDataError as error:
        return Delivery(_kind_of(error.code), _detail(error.code, error.message))
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        return Delivery("unknown", f"No answer after the content: {str(error)[:_DETAIL]}")
    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        await client.quit(timeout=1.0)
    return Delivery("sent", _detail(answer.code, answer.message))


def _kind_of(code: int) -> Literal["failed", "retry"]:
    return "failed" if code >= 500 else "retry"


def _detail(code: int, text: str) -> str:
    return f"{code} {text}"[:_DETAIL]
