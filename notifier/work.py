"""The decisions of one batch: loads what they need at once, judges in order, writes everything at once."""

import logging
from collections.abc import Collection, Iterable, Sequence

from notifier import store
from notifier.composer import OUTBOX, Composer
from notifier.domain.gates import Moment, judge
from notifier.domain.model import STEP, Decision, Message, Pending, Reason, Status, decision_id, scope_of
from notifier.domain.profiles import Profile, address_of, merge
from notifier.domain.reading import Identified, Retraction
from notifier.domain.rendering import RenderFailed
from notifier.memory import Memory
from notifier.outcomes import announce_sent, announce_suppressed
from notifier.ports import Transaction
from notifier.store import Attempt, Subject
from schemas.processing import Output

__all__ = ["Work"]

log = logging.getLogger(__name__)


class Work:
    """One batch or wake of one partition. `outputs` are the records to publish, in order."""

    def __init__(
        self, composer: Composer, transaction: Transaction, memory: Memory, partition: int, moment: Moment
    ) -> None:
        """Everything is read and written in `transaction`."""
        self.outputs: list[Output] = []
        self._composer = composer
        self._transaction = transaction
        self._memory = memory
        self._partition = partition
        self._moment = moment
        self._profiles: dict[Subject, Profile] = {}
        self._past: dict[Subject, list[Decision]] = {}
        self._changed: dict[str, Decision] = {}
        self._attempts: list[Attempt] = []
        self._messages: list[Message] = []

    def learn(self, identified: Iterable[Identified]) -> set[Subject]:
        """Take traits over into the profiles; return the subjects of whom something new is known."""
        events = list(identified)
        if not events:
            return set()
        self._know({(event.workspace, event.subject) for event in events})
        changed: dict[Subject, Profile] = {}
        moved: dict[Subject, Profile] = {}
        for event in events:
            subject = (event.workspace, event.subject)
            profile = self._profiles[subject]
            if merge(profile, event.traits, event.position):
                changed[subject] = profile
            moved[subject] = profile
        store.save_profiles(self._transaction, moved)
        return set(changed)

    def decide(self, withdrawn: Sequence[Pending], retracted: Sequence[Retraction]) -> None:
        """Decide everything that is due, and write it down.

        `withdrawn`: news taken back before it was decided; `retracted`: changes that no longer stand.
        """
        due = self._memory.due(self._moment.clock, self._moment.effects_within)
        subjects = {(row.workspace, row.subject) for row in (*due, *withdrawn)}
        subjects |= {(each.workspace, each.subject) for each in retracted}
        if subjects:
            self._past = store.load_decisions(self._transaction, subjects)
            self._know({(row.workspace, row.subject) for row in due} - self._profiles.keys())
        for each in retracted:
            self._retract(each)
        for row in withdrawn:
            self._decide(row, withdrawn=True)
        for row in due:
            self._decide(row, withdrawn=False)
        self._write()

    def _know(self, subjects: Collection[Subject]) -> None:
        self._profiles.update(store.load_profiles(self._transaction, subjects))

    def _retract(self, retraction: Retraction) -> None:
        for decision in self._past[(retraction.workspace, retraction.subject)]:
            concerned = decision.change_id == retraction.change_id and decision.status == "sending"
            if concerned and decision.change_revision <= retraction.revision:
                if retraction.replacement is None:
                    decision.standing = False
                else:
                    decision.change_id, decision.change_revision = retraction.replacement
                self._changed[decision.decision_id] = decision

    def _decide(self, row: Pending, *, withdrawn: bool) -> None:
        subject = (row.workspace, row.subject)
        profile = self._profiles.get(subject, {})
        address = address_of(profile)
        past = [each for each in self._past[subject] if each.campaign == row.campaign]
        campaign = self._composer.campaigns.get(row.campaign)
        verdict = judge(row, campaign, past, self._moment, address=address is not None)
        if verdict.outcome == "duplicate" and verdict.past is not None:
            self._repeat(row, verdict.past)
        elif withdrawn:
            self._suppress(row, "no_longer_eligible")
        elif verdict.outcome == "park":
            self._memory.park(row)
            return
        elif verdict.outcome == "send" and address is not None:
            self._send(row, profile, address)
        else:
            self._suppress(row, verdict.reason)
        if not withdrawn:
            self._memory.remove(row)

    def _repeat(self, row: Pending, past: Decision) -> None:
        past.duplicates += 1
        if past.effect_id == row.effect_id:
            past.change_id, past.change_revision, past.standing = row.change_id, row.revision, True
        self._changed[past.decision_id] = past
        repeated = self._decision(row, "suppressed", "duplicate")
        self.outputs.append(announce_suppressed(repeated, self._moment.now))

    def _suppress(self, row: Pending, reason: Reason | None) -> None:
        decision = self._decision(row, "suppressed", reason)
        self._record(decision)
        self.outputs.append(announce_suppressed(decision, self._moment.now))

    def _send(self, row: Pending, profile: Profile, address: str) -> None:
        local = self._composer.channel == OUTBOX
        decision = self._decision(row, "sent" if local else "sending", None)
        now = self._moment.now
        try:
            message = self._composer.compose(decision.decision_id, decision.template or "", row, profile, address, now)
        except RenderFailed:
            log.warning("notifier.render_failed", extra={"campaign": row.campaign, "decision": decision.decision_id})
            self._suppress(row, "render_error")
            return
        decision.channel, decision.locale = self._composer.channel, message.locale
        self._record(decision)
        self._messages.append(message)
        status = "sent" if local else "ready"
        self._attempts.append(Attempt(decision.decision_id, self._composer.channel, self._partition, status, now))
        if local:
            self.outputs.append(announce_sent(decision, now))
        else:
            self._memory.outstanding = True

    def _record(self, decision: Decision) -> None:
        past = self._past[(decision.workspace, decision.subject)]
        past[:] = [each for each in past if each.decision_id != decision.decision_id] + [decision]
        self._changed[decision.decision_id] = decision

    def _decision(self, row: Pending, status: Status, reason: Reason | None) -> Decision:
        campaign = self._composer.campaigns.get(row.campaign)
        scope = scope_of(campaign, row)
        return Decision(
            workspace=row.workspace,
            subject=row.subject,
            campaign=row.campaign,
            step=STEP,
            scope=scope,
            decision_id=decision_id(row.workspace, row.subject, row.campaign, STEP, scope),
            partition=self._partition,
            campaign_version=campaign.version if campaign else 0,
            effect_id=row.effect_id,
            change_id=row.change_id,
            change_revision=row.revision,
            standing=True,
            status=status,
            reason=reason,
            channel=None,
            template=campaign.template if campaign else None,
            locale=None,
            lifecycle=row.lifecycle,
            track=row.track,
            stage=row.stage,
            previous=row.previous,
            visit=row.visit,
            effective_at=row.effective_at,
            decided_at=self._moment.now,
            expires_at=row.expires_at,
        )

    def _write(self) -> None:
        save, gone = self._memory.changes()
        store.delete_pending(self._transaction, gone)
        store.save_pending(self._transaction, self._partition, save)
        store.save_decisions(self._transaction, self._changed.values())
        store.save_attempts(self._transaction, self._attempts)
        store.save_messages(self._transaction, self._messages)
