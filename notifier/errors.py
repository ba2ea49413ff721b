"""Errors of the notifier's settings and definitions: a sentence with a way out, and a stable code."""

__all__ = ["InvalidMailFrom", "InvalidSmtpUrl"]


class InvalidSmtpUrl(ValueError):
    """PARCOURS_SMTP_URL cannot be used. Give smtp://user:password@host:port, or leave it out for the local outbox."""

    code = "invalid_setting"


class InvalidMailFrom(ValueError):
    """PARCOURS_MAIL_FROM holds no address. Give for example `Acme <hello@acme.example>`."""

    code = "invalid_setting"

    def __str__(self) -> str:
        """The sentence."""
        return " ".join((type(self).__doc__ or "").split())
