"""The campaigns in force, and how their messages are written."""

from collections.abc import Sequence
from email.utils import parseaddr
from typing import Final

from notifier.domain.model import Message, Pending
from notifier.domain.profiles import Profile, locale_of
from notifier.domain.rendering import TemplateLibrary, variables_of
from schemas.campaigns import Campaign

__all__ = ["EMAIL", "OUTBOX", "Composer"]

EMAIL: Final = "email"
OUTBOX: Final = "outbox"


class Composer:
    """Campaigns by name, and their messages. `channel`: the way mail goes, out of the house or into the outbox."""

    def __init__(
        self, campaigns: Sequence[Campaign], templates: TemplateLibrary, mail_from: str, *, smtp: bool
    ) -> None:
        """`mail_from` as in a From header; `smtp`: mail leaves the house."""
        self.campaigns = {campaign.campaign: campaign for campaign in campaigns}
        self.channel = EMAIL if smtp else OUTBOX
        self._templates = templates
        self._mail_from = mail_from
        name, address = parseaddr(mail_from)
        self._sender_name = name or address

    def compose(
        self, decision_id: str, template: str, pending: Pending, profile: Profile, recipient: str, now: int
    ) -> Message:
        """Render the message of a decision at `now` (ms). Raises `RenderFailed`."""
        variables = variables_of(pending, profile, self._sender_name)
        rendered = self._templates.render(template, variables, locale_of(profile))
        return Message(
            decision_id=decision_id,
            workspace=pending.workspace,
            subject=pending.subject,
            sender=self._mail_from,
            recipient=recipient,
            locale=rendered.locale,
            subject_line=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            created_at=now,
        )
