"""Mail: what a server's address means, and what a message looks like on the wire."""

import traceback

import pytest

from notifier.channels.email import EmailChannel, SmtpServer, mime_of, parse_smtp_url
from notifier.domain.model import Message
from notifier.errors import InvalidMailFrom, InvalidSmtpUrl


def message(**given: str) -> Message:
    """A message."""
    values = {
        "decision_id": "0123456789abcdef0123456789abcdef", "workspace": "default", "subject": "user:ada",
        "sender": "L’équipe <bonjour@acme.example>", "recipient": "ada@example.com", "locale": "fr",
        "subject_line": "Bienvenue, Zoé", "text": "Bonjour,\n.\n" + "é" * 2_000 + "\n", "html": "<p>Bonjour</p>\n",
    }  # fmt: skip
    return Message(created_at=1_793_700_000_000, **{**values, **given})


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 25)),
        ("smtp://mail.example:2525/", SmtpServer("mail.example", 2525)),
        ("smtps://mail.example", SmtpServer("mail.example", 465, tls=True, start_tls=False)),
        ("smtp://mail.example?starttls=never", SmtpServer("mail.example", 25, start_tls=False)),
        ("smtp://mail.example?starttls=always", SmtpServer("mail.example", 25, start_tls=True)),
        ("smtp://u%40x:p%2Fw@mail.example:587", SmtpServer("mail.example", 587, "u@x", "p/w", start_tls=True)),
        ("smtp://u:p@localhost:1025", SmtpServer("localhost", 1025, "u", "p")),
        ("smtp://[::1]:1025", SmtpServer("::1", 1025)),
    ],
)
def test_an_smtp_url_says_server_user_and_encryption(url: str, server: SmtpServer) -> None:
    assert parse_smtp_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "mail.example",
        "http://mail.example",
        "smtp://",
        "smtp://mail.example:port",
        "smtp://mail.example/inbox",
        "smtp://hunter2@mail.example",
        "smtp://u:hunter2@mail.example?tls=1",
        "smtp://u:hunter2@mail.example?starttls=perhaps",
        "smtp://u:hunter2@[mail.example",
        "smtp://u:hunter2@mail.example:99999",
    ],
)
def test_a_wrong_smtp_url_is_one_sentence_without_the_password(url: str) -> None:
    with pytest.raises(InvalidSmtpUrl) as caught:
        parse_smtp_url(url)
    assert str(caught.value).startswith("PARCOURS_SMTP_URL ")
    assert "hunter2" not in str(caught.value)


def test_the_password_does_not_show_in_the_server() -> None:
    assert "hunter2" not in repr(parse_smtp_url("smtp://u:hunter2@mail.example"))


@pytest.mark.parametrize("mail_from", ["", "Acme", "Acme <>", "a b@c d"])
def test_a_sender_without_an_address_is_refused(mail_from: str) -> None:
    with pytest.raises(InvalidMailFrom) as caught:
        EmailChannel(SmtpServer("localhost", 25), mail_from)
    assert "PARCOURS_MAIL_FROM" in "".join(traceback.format_exception_only(caught.value))


def test_a_mail_is_the_same_bytes_every_time_and_fits_seven_bits() -> None:
    first, second = mime_of(message()).as_bytes(), mime_of(message()).as_bytes()
    assert first == second
    assert first.isascii()
    assert b"\r\n" in first
    assert max(len(line) for line in first.split(b"\r\n")) <= 998
    assert b"\n" not in first.replace(b"\r\n", b"")


@pytest.mark.parametrize("field", ["subject_line", "recipient", "sender", "locale"])
def test_no_header_takes_a_line_break(field: str) -> None:
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        mime_of(message(**{field: "a@example.com\r\nBcc: eve@example.com"}))
