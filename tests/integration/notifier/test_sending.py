"""Mail that leaves the house: claimed before the socket is touched, recorded after, never sent twice."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from notifier.channels.email import EmailChannel, parse_smtp_url
from notifier.domain.model import Message
from notifier.ports import Channel, Delivery
from notifier.sender import LEASE, Sender
from schemas.times import DAY
from services.storage.errors import StorageUnavailable
from tests.integration.notifier.house import NOON, PARTITION, House, change
from tests.integration.notifier.post_office import PostOffice, closed_port

EMAIL = "ada@example.com"
FROM = "The Acme team <hello@acme.example>"


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    """A house whose mail leaves it, with one message decided."""
    house = build(smtp=True)
    house.read(house.identify(email=EMAIL, locale="fr-FR"), house.changed(change()), house.progress())
    return house


def sender(house: House, *channels: Channel, owner: str = "one") -> Sender:
    """A sender of this house."""
    return Sender(house.database, channels, house.clock.now, owner, house.processor.poke)


def mail(office: PostOffice) -> EmailChannel:
    """The channel to a mail server."""
    return EmailChannel(parse_smtp_url(office.url), FROM)


def statuses(house: House) -> list[tuple[str, str, str | None]]:
    """(decision, attempt, reason) of each message."""
    return [(each.decision.status, each.attempts[0].status, each.decision.reason) for each in house.messages()]


class Broken:
    """A channel that dies while it sends."""

    name = "email"

    def __init__(self, inner: EmailChannel) -> None:
        self._inner = inner

    async def deliver(self, message: Message) -> Delivery:
        """Hand the message over, and never come back to say so."""
        await self._inner.deliver(message)
        raise asyncio.CancelledError


async def test_a_mail_arrives_whole_and_once(house: House, post_office: PostOffice) -> None:
    assert statuses(house) == [("sending", "ready", None)]
    assert await sender(house, mail(post_office)).once() == 1
    assert await sender(house, mail(post_office)).once() == 0
    [found] = post_office.mails()
    [message] = house.messages()
    assert (found["To"], found["From"], found["Subject"]) == (EMAIL, FROM, "Bienvenue")
    assert found["Message-ID"] == f"<{message.decision.decision_id}@acme.example>"
    assert found.get_content_type() == "multipart/alternative"
    text, html = found.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == message.text
    assert 'lang="fr"' in html.get_content()
    assert statuses(house) == [("sent", "sent", None)]


async def test_the_end_of_an_attempt_is_announced_once_by_the_owner_of_the_partition(
    house: House, post_office: PostOffice
) -> None:
    house.tick()
    assert house.outcomes() == []
    await sender(house, mail(post_office)).once()
    house.tick()
    house.tick()
    assert house.outcomes() == [("welcome:sent", None)]
    house.restart()
    house.tick()
    assert house.outcomes() == [("welcome:sent", None)]


async def test_an_end_recorded_by_another_process_is_announced_as_the_clock_passes(
    house: House, post_office: PostOffice
) -> None:
    house.tick()
    elsewhere = Sender(house.database, [mail(post_office)], house.clock.now, "two", lambda _partition: None)
    await elsewhere.once()
    house.clock.move(1_000)
    house.tick()
    assert house.outcomes() == [("welcome:sent", None)]


async def test_a_crash_between_claim_and_record_is_unknown_and_sends_no_second_mail(
    house: House, post_office: PostOffice
) -> None:
    with suppress(asyncio.CancelledError):
        await sender(house, Broken(mail(post_office))).once()
    assert statuses(house) == [("sending", "claimed", None)]
    house.clock.move(LEASE)
    assert await sender(house, mail(post_office), owner="two").once() == 0
    assert statuses(house) == [("sending", "claimed", None)]
    house.clock.move(1)
    assert await sender(house, mail(post_office), owner="two").once() == 0
    assert statuses(house) == [("unknown", "unknown", "outcome_unknown")]
    house.read(house.changed(change()), house.progress())
    assert await sender(house, mail(post_office), owner="two").once() == 0
    assert len(post_office.taken) == 1
    house.tick()
    assert house.outcomes() == [("welcome:suppressed", "duplicate"), ("welcome:unknown", "outcome_unknown")]


async def test_two_senders_at_once_send_one_mail(house: House, post_office: PostOffice) -> None:
    both = [sender(house, mail(post_office), owner=owner) for owner in ("one", "two")]
    made = await asyncio.gather(*(each.once() for each in both))
    assert sorted(made) == [0, 1]
    assert len(post_office.taken) == 1


@pytest.mark.parametrize("where", ["recipient_answers", "data_answers"])
async def test_a_temporary_refusal_is_tried_again_later(house: House, post_office: PostOffice, where: str) -> None:
    getattr(post_office, where).append("451 Try again later")
    one = sender(house, mail(post_office))
    assert await one.once() == 1
    assert statuses(house) == [("sending", "ready", None)]
    house.clock.move(29_999)
    assert await one.once() == 0
    house.clock.move(1)
    assert await one.once() == 1
    assert statuses(house) == [("sent", "sent", None)]
    assert house.messages()[0].attempts[0].tries == 2
    assert len(post_office.taken) == 1


async def test_a_mail_server_that_stays_away_is_tried_until_the_message_is_not_valid_any_more(house: House) -> None:
    away = EmailChannel(parse_smtp_url(f"smtp://127.0.0.1:{closed_port()}"), FROM)
    one = sender(house, away)
    tries = 0
    while statuses(house)[0][0] == "sending":
        tries += await one.once()
        again = house.messages()[0].attempts[0].not_before
        house.clock.set(max(again, house.clock.now()))
    assert statuses(house) == [("suppressed", "suppressed", "expired")]
    assert house.clock.now() <= NOON + 1_000 + 3 * DAY
    assert tries > 70
    house.tick()
    assert house.outcomes() == [("welcome:suppressed", "expired")]


@pytest.mark.parametrize("where", ["recipient_answers", "data_answers"])
async def test_a_refusal_for_good_is_final(house: House, post_office: PostOffice, where: str) -> None:
    getattr(post_office, where).append("550 No such user")
    one = sender(house, mail(post_office))
    assert await one.once() == 1
    house.clock.move(2 * DAY)
    assert await one.once() == 0
    assert statuses(house) == [("failed", "failed", "refused")]
    assert house.messages()[0].attempts[0].detail == "550 No such user"
    house.tick()
    assert house.outcomes() == [("welcome:failed", "refused")]


async def test_no_answer_after_the_content_is_unknown_and_final(house: House, post_office: PostOffice) -> None:
    post_office.data_answers.append("hang up")
    one = sender(house, mail(post_office))
    assert await one.once() == 1
    assert statuses(house) == [("unknown", "unknown", "outcome_unknown")]
    house.clock.move(DAY)
    assert await one.once() == 0
    assert len(post_office.taken) == 1


async def test_a_change_taken_back_before_the_attempt_is_not_sent(house: House, post_office: PostOffice) -> None:
    house.read(house.corrected([change()], []))
    assert await sender(house, mail(post_office)).once() == 0
    assert statuses(house) == [("suppressed", "suppressed", "no_longer_eligible")]
    house.read(house.corrected([], [change(revision=2)]), house.progress())
    assert await sender(house, mail(post_office)).once() == 1
    assert statuses(house) == [("sent", "sent", None)]
    assert len(post_office.taken) == 1


async def test_a_change_taken_back_and_brought_again_before_the_attempt_is_sent(
    house: House, post_office: PostOffice
) -> None:
    house.read(house.corrected([change()], []))
    house.read(house.corrected([], [change(revision=2)]), house.progress())
    assert await sender(house, mail(post_office)).once() == 1
    assert statuses(house) == [("sent", "sent", None)]
    assert [output for output, _ in house.outcomes()] == ["welcome:suppressed"]


async def test_a_change_that_another_replaces_before_the_attempt_is_sent_once(
    house: House, post_office: PostOffice
) -> None:
    first = change()
    moved = change(id="moved", at=NOON - 1_000, effect_id=first.effect_id)
    house.read(house.corrected([first], [moved]))
    assert await sender(house, mail(post_office)).once() == 1
    house.read(house.progress())
    house.read(house.corrected([moved], [change(revision=2)]), house.progress())
    assert await sender(house, mail(post_office)).once() == 0
    assert len(post_office.taken) == 1
    assert statuses(house) == [("sent", "sent", None)]


async def test_a_message_not_valid_any_more_is_not_sent(house: House, post_office: PostOffice) -> None:
    house.clock.set(NOON + 1_000 + 3 * DAY + 1)
    assert await sender(house, mail(post_office)).once() == 0
    assert statuses(house) == [("suppressed", "suppressed", "expired")]
    assert post_office.taken == []


async def test_what_comes_back_after_the_lease_is_still_recorded(house: House, post_office: PostOffice) -> None:
    class Slow:
        name = "email"

        async def deliver(self, message: Message) -> Delivery:
            """Take longer than the lease, while another sender looks on."""
            house.clock.move(LEASE + 1)
            await sender(house, owner="two").once()
            assert statuses(house) == [("unknown", "unknown", "outcome_unknown")]
            return await mail(post_office).deliver(message)

    await sender(house, Slow()).once()
    assert statuses(house) == [("sent", "sent", None)]
    house.tick()
    assert house.outcomes() == [("welcome:sent", None)]


async def test_a_sender_waits_for_a_database_that_is_away_and_loses_no_outcome(
    house: House, post_office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = house.database.transaction
    failures = iter([False, True, True])

    def transaction() -> object:
        if next(failures, False):
            raise StorageUnavailable
        return whole()

    monkeypatch.setattr(house.database, "transaction", transaction)
    recorded = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_end(_partition: int) -> None:
        loop.call_soon_threadsafe(recorded.set)

    one = Sender(house.database, [mail(post_office)], house.clock.now, "one", on_end)
    running = asyncio.create_task(one.run())
    await recorded.wait()
    one.stop()
    await running
    assert statuses(house) == [("sent", "sent", None)]
    assert len(post_office.taken) == 1


async def test_a_sender_that_is_stopped_finishes_what_it_has_begun(house: House, post_office: PostOffice) -> None:
    class Stopping:
        name = "email"

        async def deliver(self, message: Message) -> Delivery:
            """Be told to stop while sending."""
            one.stop()
            return await mail(post_office).deliver(message)

    one = sender(house, Stopping())
    await one.run()
    assert statuses(house) == [("sent", "sent", None)]


def test_the_partition_of_the_house_is_the_one_that_is_poked(house: House) -> None:
    house.tick()
    house.processor.poke(PARTITION)
    assert house.processor.next_wake(PARTITION) == 0
