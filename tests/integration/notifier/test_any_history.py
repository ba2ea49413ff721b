"""Whatever is corrected, repeated, split, restarted and sent in between: one effect makes one message."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from notifier.domain.model import Message
from notifier.ports import Delivery
from notifier.sender import LEASE, Sender
from schemas.changes import TrackChange
from schemas.records import StoredRecord
from schemas.times import HOUR, MINUTE
from schemas.topics import EVENTS
from tests.integration.notifier.house import NOON, House, change

SUBJECTS = ("user:ada", "user:bob", "user:eve")


class Unreliable:
    """Takes every mail; sometimes says to try again instead, and sometimes never says a word."""

    name = "email"

    def __init__(self, rng: random.Random) -> None:
        self.taken: list[Message] = []
        self._rng = rng

    async def deliver(self, message: Message) -> Delivery:
        """Take the mail, or not; or die after it was taken."""
        chance = self._rng.random()
        if chance < 0.2:
            return Delivery("retry", "451")
        self.taken.append(message)
        if chance < 0.3:
            raise asyncio.CancelledError
        return Delivery("sent", "250")


class Engine:
    """Writes changes and corrections as a stage engine does: an id alternates, a replacement inherits the effect."""

    def __init__(self, house: House, rng: random.Random) -> None:
        self.house = house
        self.standing: dict[str, TrackChange] = {}
        self._gone: dict[str, TrackChange] = {}
        self._revisions: Counter[str] = Counter()
        self._rng = rng

    def _made(self, subject: str, effect_id: str | None) -> TrackChange:
        at = NOON + self._rng.randrange(6) * MINUTE
        name = f"{subject}/{at}/{effect_id or self._rng.randrange(10**9)}"
        self._revisions[name] += 1
        return change(subject, at=at, id=name, effect_id=effect_id or name, revision=self._revisions[name])

    def record(self) -> StoredRecord:
        """The next thing that it says."""
        kind = self._rng.choice(["new", "new", "take back", "replace", "bring back"])
        if kind in ("take back", "replace") and self.standing:
            old = self.standing.pop(self._rng.choice(sorted(self.standing)))
            if kind == "take back":
                self._gone[old.effect_id] = old
                return self.house.corrected([old], [])
            added = self._made(old.subject, old.effect_id)
            while added.id == old.id:
                added = self._made(old.subject, old.effect_id)
            self.standing[old.effect_id] = added
            return self.house.corrected([old], [added])
        if kind == "bring back" and self._gone:
            old = self._gone.pop(self._rng.choice(sorted(self._gone)))
            self._revisions[old.id] += 1
            restored = msgspec.structs.replace(old, revision=self._revisions[old.id])
            self.standing[old.effect_id] = restored
            return self.house.corrected([], [restored])
        added = self._made(self._rng.choice(SUBJECTS), None)
        self.standing[added.effect_id] = added
        return self.house.changed(added)


def records_of(house: House, engine: Engine, rng: random.Random) -> list[StoredRecord]:
    """What arrives in one batch."""
    records: list[StoredRecord] = []
    for _ in range(rng.randrange(1, 5)):
        chance = rng.random()
        if chance < 0.15:
            records.append(house.identify(rng.choice(SUBJECTS), email=f"{rng.randrange(9)}@example.com"))
        elif chance < 0.4:
            records.append(house.progress())
        else:
            records.append(engine.record())
    return records


@pytest.mark.parametrize("seed", range(10))
def test_each_effect_that_stands_makes_one_message_in_the_outbox(build: Callable[..., House], seed: int) -> None:
    rng = random.Random(seed)
    house = build()
    engine = Engine(house, rng)
    for _ in range(30):
        house.clock.move(rng.randrange(2_000))
        house.read(*records_of(house, engine, rng))
        if rng.random() < 0.2:
            house.restart()
        house.tick()
    house.read(*(house.identify(subject, email="last@example.com") for subject in SUBJECTS), house.progress())
    sent = {each.decision.effect_id for each in house.messages(status="sent")}
    assert len(sent) == len(house.messages(status="sent"))
    assert sent >= engine.standing.keys()
    assert house.outcomes().count(("welcome:sent", None)) == len(sent)
    assert len(engine.standing) > 5


@pytest.mark.parametrize("seed", range(10))
async def test_each_effect_that_stands_makes_one_mail_though_mails_are_lost_and_senders_die(
    build: Callable[..., House], seed: int
) -> None:
    rng = random.Random(seed)
    house = build(smtp=True)
    engine, channel = Engine(house, rng), Unreliable(rng)

    async def send(owner: str) -> None:
        sender = Sender(house.database, [channel], house.clock.now, owner, house.processor.poke)
        await asyncio.gather(sender.once(), return_exceptions=True)

    for number in range(30):
        house.clock.move(rng.choice([500, MINUTE, LEASE + 1]))
        house.read(*records_of(house, engine, rng))
        if rng.random() < 0.2:
            house.restart()
        if rng.random() < 0.5:
            await send(f"sender-{number}")
        house.tick()
    house.read(*(house.identify(subject, email="last@example.com") for subject in SUBJECTS), house.progress())
    for number in range(40):
        house.clock.move(HOUR // 4)
        await send(f"last-{number}")
        house.tick()
    mails = Counter(message.decision_id for message in channel.taken)
    assert set(mails.values()) <= {1}, "somebody got two mails for one thing"
    done = {each.decision.effect_id: each.decision.status for each in house.messages()}
    assert {done[effect] for effect in engine.standing} <= {"sent", "unknown"}
    assert len(mails) == sum(status in ("sent", "unknown") for status in done.values())
    ends = Counter(outcome for outcome, reason in house.outcomes() if reason != "duplicate")
    assert ends["welcome:sent"] == sum(status == "sent" for status in done.values())
    assert ends["welcome:unknown"] == sum(status == "unknown" for status in done.values())


def test_the_order_of_topics_within_a_batch_does_not_matter(house: House) -> None:
    # The address is read in the same batch as the progress that waits for it.
    entered, progress = house.changed(change()), house.progress(events=1)
    house.read(entered, progress, upto={EVENTS: 0})
    assert house.messages() == []
    house.read(house.identify(email="ada@example.com"))
    assert [each.decision.status for each in house.messages()] == ["sent"]
