"""What becomes of news: exactly one message for each visit, and for everything else a reason."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from schemas.campaigns import Campaign, load_campaign
from schemas.processing import Batch
from schemas.times import DAY, HOUR, format_instant
from schemas.topics import EVENTS, SEGMENT_CHANGES
from tests.integration.notifier.house import NOON, PARTITION, House, change

EMAIL = "ada@example.com"
Build = Callable[..., House]


def campaign(text: str) -> Campaign:
    """A campaign of one line of settings beside the usual ones."""
    return load_campaign(f"campaign: c\nversion: 1\ntemplate: welcome\n{text}\n").campaign


def test_a_change_that_notifies_becomes_one_message_in_the_outbox(house: House) -> None:
    house.read(house.identify(email=EMAIL, first_name="Ada"), house.changed(change()), house.progress())
    [message] = house.messages()
    assert (message.decision.campaign, message.decision.status, message.recipient) == ("welcome", "sent", EMAIL)
    assert message.subject_line == "Welcome aboard, Ada"
    assert (message.text or "").startswith("Hello Ada,")
    assert [(each.channel, each.status) for each in message.attempts] == [("outbox", "sent")]
    assert house.outcomes() == [("welcome:sent", None)]


def test_nothing_is_decided_before_the_reading_of_events_has_passed_the_progress_that_follows(house: House) -> None:
    # The purchase is event 1, the address was posted before it as event 0; the change is read first.
    house.progress_of_reading[EVENTS] = 2
    house.read(house.changed(change()), upto={EVENTS: 0})
    assert house.messages() == []
    house.read(house.progress(events=2), upto={EVENTS: 0})
    assert house.messages() == []
    house.progress_of_reading[EVENTS] = 0
    house.read(house.identify(email=EMAIL))
    assert house.messages() == [], "event 1 is still to be read"
    house.read(house.event("Order Completed"))
    assert [each.decision.status for each in house.messages()] == ["sent"]


def test_waiting_news_outlives_a_crash(house: House) -> None:
    house.read(house.identify(email=EMAIL), house.changed(change()))
    house.restart()
    assert house.messages() == []
    house.read(house.progress())
    assert [each.decision.status for each in house.messages()] == ["sent"]


def test_each_visit_gets_its_own_message_and_only_one(house: House) -> None:
    house.read(house.identify(email=EMAIL))
    for visit in range(1, 5):
        at = NOON + visit * HOUR
        house.clock.set(at + 10_000)
        entered = change(at=at, visit=visit, id=f"visit-{visit}")
        house.read(house.changed(entered), house.progress())
        house.read(house.changed(entered), house.progress())
    assert [each.decision.visit for each in house.messages()] == [1, 2, 3, 4]
    assert [each.decision.status for each in house.messages()] == ["sent"] * 4
    assert [each.decision.duplicates for each in house.messages()] == [1] * 4
    assert house.outcomes().count(("welcome:sent", None)) == 4


def test_a_correction_that_keeps_the_effect_sends_nothing_again(house: House) -> None:
    first = change(id="a")
    moved = change(id="b", at=NOON - HOUR, effect_id="a")
    house.read(house.identify(email=EMAIL), house.changed(first), house.progress())
    house.read(house.corrected([first], [moved]), house.progress())
    restored = change(id="a", revision=2)
    house.read(house.corrected([moved], [restored]), house.progress())
    [message] = house.messages()
    assert (message.decision.status, message.decision.duplicates) == ("sent", 2)
    assert house.outcomes() == [("welcome:sent", None), *[("welcome:suppressed", "duplicate")] * 2]


def test_news_taken_back_before_it_is_decided_sends_nothing(house: House) -> None:
    first = change()
    house.read(house.identify(email=EMAIL), house.changed(first))
    house.read(house.corrected([first], []), house.progress())
    [message] = house.messages()
    assert (message.decision.status, message.decision.reason) == ("suppressed", "no_longer_eligible")
    assert (message.subject_line, message.attempts) == (None, ())


def test_news_taken_back_and_brought_again_is_sent_once(house: House) -> None:
    first = change()
    house.read(house.identify(email=EMAIL), house.changed(first))
    house.read(house.corrected([first], []))
    house.read(house.corrected([], [change(revision=2)]), house.progress())
    [message] = house.messages()
    assert (message.decision.status, message.decision.change_revision) == ("sent", 2)


def test_a_replacement_before_the_decision_is_sent_once_and_leaves_no_second_decision(house: House) -> None:
    first = change(id="a")
    house.read(house.identify(email=EMAIL), house.changed(first))
    house.read(house.corrected([first], [change(id="b", at=NOON + 1_000, effect_id="a")]), house.progress())
    assert [(each.decision.change_id, each.decision.status) for each in house.messages()] == [("b", "sent")]
    assert house.outcomes() == [("welcome:sent", None)]


def test_importing_years_of_history_mails_nobody_and_says_why(house: House) -> None:
    records = []
    for number in range(300):
        subject = f"user:u-{number}"
        at = NOON - (number + 2) * 5 * DAY
        records.append(house.identify(subject, at=at, email=f"u{number}@example.com"))
        recorded = format_instant(NOON)
        records.append(house.changed(change(subject, at=at, recorded_at=recorded)))
    house.read(*records, house.progress())
    assert len(house.messages()) == 300
    assert {(each.decision.status, each.decision.reason) for each in house.messages()} == {("suppressed", "too_old")}
    assert house.outcomes() == [("welcome:suppressed", "too_old")] * 300


@pytest.mark.parametrize(("age", "status"), [(DAY, "sent"), (DAY + 1, "suppressed")])
def test_an_effect_happens_up_to_the_last_millisecond_of_effects_within(house: House, age: int, status: str) -> None:
    clock = house.clock.now() - 5_000
    news = change(at=clock - age, recorded_at=format_instant(NOON))
    house.read(house.identify(email=EMAIL), house.changed(news), house.progress(clock=clock))
    assert [each.decision.status for each in house.messages()] == [status]


def test_the_engine_s_clock_counts_where_the_own_clock_lags(house: House) -> None:
    news = change(at=NOON - DAY, recorded_at=format_instant(NOON))
    engine = house.clock.now() - 5_000
    house.clock.set(NOON - DAY + 1)
    house.read(house.identify(email=EMAIL), house.changed(news), house.progress(clock=engine))
    assert [each.decision.reason for each in house.messages()] == ["too_old"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_does_not_run_yet_lets_no_history_through(house: House, restarted: bool) -> None:
    house.own_clock = 0
    house.read(house.identify(email=EMAIL, at=NOON - 9 * DAY), house.event("Order Completed", at=NOON - 9 * DAY))
    house.read(house.changed(change(at=NOON - 9 * DAY, recorded_at=format_instant(NOON))))
    if restarted:
        house.restart()
    house.read(house.progress(clock=0))
    assert [each.decision.reason for each in house.messages()] == ["too_old"]


def test_a_clock_that_does_not_run_yet_holds_nothing_up(house: House) -> None:
    house.own_clock = 0
    house.read(house.identify(email=EMAIL), house.changed(change()), house.progress(clock=0))
    assert [each.decision.status for each in house.messages()] == ["sent"]


def test_an_event_from_the_far_future_does_not_stop_messages(house: House) -> None:
    future = replace(house.event("Order Completed"), timestamp=NOON + 50_000 * DAY)
    house.read(future, house.identify(email=EMAIL), house.changed(change()), house.progress())
    assert [each.decision.status for each in house.messages()] == ["sent"]


def test_wider_effects_let_history_into_the_outbox(build: Build) -> None:
    house = build(effects_within=400 * DAY)
    news = change(at=NOON - 180 * DAY, recorded_at=format_instant(NOON))
    house.read(house.identify(email=EMAIL), house.changed(news), house.progress())
    assert [each.decision.status for each in house.messages()] == ["sent"]


def test_a_late_address_is_waited_for(house: House) -> None:
    house.read(house.changed(change()), house.progress())
    assert house.messages() == []
    house.restart()
    house.clock.move(2 * DAY)
    assert house.tick() is None
    house.read(house.identify(first_name="Ada"))
    assert house.messages() == []
    house.read(house.identify(email=EMAIL, at=NOON + DAY))
    [message] = house.messages()
    assert (message.decision.status, message.recipient, message.subject_line) == ("sent", EMAIL, "Welcome aboard, Ada")


def test_an_address_is_waited_for_only_while_the_message_is_valid(house: House) -> None:
    house.read(house.changed(change()), house.progress())
    house.clock.set(NOON + 1_000 + 3 * DAY + 5_000)
    assert house.tick() is None
    house.clock.move(1)
    house.tick()
    assert [(each.decision.status, each.decision.reason) for each in house.messages()] == [("suppressed", "no_address")]
    house.read(house.identify(email=EMAIL))
    assert [each.decision.status for each in house.messages()] == ["suppressed"]
    assert house.outcomes() == [("welcome:suppressed", "no_address")]


def test_waiting_for_an_address_ends_when_the_change_is_taken_back(house: House) -> None:
    house.read(house.changed(change()), house.progress())
    house.read(house.corrected([change()], []), house.progress())
    house.read(house.identify(email=EMAIL))
    assert [each.decision.reason for each in house.messages()] == ["no_longer_eligible"]


def test_an_earlier_address_that_arrives_later_does_not_replace_a_newer_one(house: House) -> None:
    house.read(house.identify(email="new@example.com", at=NOON))
    house.read(house.identify(email="old@example.com", at=NOON - DAY), house.identify(at=NOON - DAY, locale="fr"))
    house.read(house.changed(change()), house.progress())
    [message] = house.messages()
    assert (message.recipient, message.decision.locale) == ("new@example.com", "fr")


def test_an_account_is_not_written_to_at_a_member_s_address(house: House) -> None:
    account = "account:acme"
    house.read(house.identify(account, email=EMAIL), house.changed(change(account)), house.progress())
    assert house.messages() == []
    group = house.event("$group", account, body=b'{"traits":{"email":"office@acme.example"}}')
    house.read(group)
    assert [each.recipient for each in house.messages()] == ["office@acme.example"]


def test_once_per_subject_sends_once_in_a_life_even_if_the_first_news_came_too_late(build: Build) -> None:
    house = build(campaigns=[campaign("on: {notify: welcome}\nonce_per: subject")])
    house.read(house.identify(email=EMAIL))
    old = change(at=NOON - 9 * DAY, id="old", recorded_at=format_instant(NOON))
    for news in (old, change(id="first"), change(id="second", at=NOON + 1)):
        house.read(house.changed(news), house.progress())
    assert house.outcomes() == [("c:suppressed", "too_old"), ("c:sent", None), ("c:suppressed", "duplicate")]
    assert [(each.decision.status, each.decision.change_id) for each in house.messages()] == [("sent", "first")]


def test_once_per_duration_sends_once_in_a_bucket_and_never_twice_for_one_effect(build: Build) -> None:
    house = build(campaigns=[campaign("on: {notify: welcome}\nonce_per: 30d")], effects_within=90 * DAY)
    bucket = NOON // (30 * DAY) * 30 * DAY
    house.read(house.identify(email=EMAIL))
    for name, at in (("a", bucket), ("b", bucket + 29 * DAY), ("c", bucket + 30 * DAY)):
        house.read(house.changed(change(id=name, at=at, recorded_at=format_instant(NOON))), house.progress())
    assert [each.decision.change_id for each in house.messages()] == ["a", "c"]
    moved = change(id="d", at=bucket - DAY, effect_id="a", recorded_at=format_instant(NOON))
    house.read(house.corrected([change(id="a", at=bucket)], [moved]), house.progress())
    assert len([each for each in house.messages() if each.decision.status == "sent"]) == 2


def test_a_segment_that_is_entered_sets_its_campaign_off(house: House) -> None:
    news = change(lifecycle="segments", track="engaged", to="unengaged", actions=())
    house.read(house.identify(email=EMAIL), house.changed(news, SEGMENT_CHANGES), house.progress(topic=SEGMENT_CHANGES))
    assert [each.decision.campaign for each in house.messages()] == ["quiet_lately"]


def test_a_paused_campaign_sends_nothing_and_says_so(build: Build) -> None:
    house = build(campaigns=[campaign("on: {notify: welcome}\npaused: true")])
    house.read(house.identify(email=EMAIL), house.changed(change()), house.progress())
    assert house.outcomes() == [("c:suppressed", "paused")]


def test_a_campaign_that_is_gone_at_the_next_start_sends_nothing_and_says_so(build: Build) -> None:
    house = build()
    house.read(house.identify(email=EMAIL), house.changed(change()))
    other = build(campaigns=[campaign("on: {notify: other}")])
    other.progress_of_reading = house.progress_of_reading
    other.read(other.progress())
    assert other.outcomes() == [("welcome:suppressed", "campaign_removed")]


def test_line_breaks_in_a_trait_never_reach_a_header(house: House) -> None:
    name = "Ada\r\nBcc: everybody@example.com"
    house.read(house.identify(email=EMAIL, first_name=name), house.changed(change()), house.progress())
    assert house.outcomes() == [("welcome:suppressed", "render_error")]
    assert [each.text for each in house.messages()] == [None]


def test_markup_in_a_trait_stays_text(house: House) -> None:
    house.read(house.identify(email=EMAIL, first_name="<b>Ada</b>"), house.changed(change()), house.progress())
    [message] = house.messages()
    assert "<b>" not in (message.html or "<b>")
    assert "&lt;b&gt;Ada" in (message.html or "")
    assert "Hello <b>Ada</b>," in (message.text or "")


def test_a_bad_record_among_the_changes_is_a_dead_letter_and_the_rest_goes_on(house: House) -> None:
    good = house.changed(change())
    bad = [house.changed(change("user:eve")) for _ in range(4)]
    bad[0] = replace(bad[0], value=b"{]")
    bad[1] = replace(bad[1], key=b"default\x1fuser:mallory")
    bad[2] = replace(bad[2], value=None)
    bad[3] = replace(bad[3], headers=())
    poison = replace(house.identify(), value=b"\xff")
    result = house.read(house.identify(email=EMAIL), poison, *bad, good, house.progress())
    assert [(each.record, each.code) for each in result.dead_letters] == [(each, "bad_record") for each in bad]
    assert [each.decision.subject for each in house.messages()] == ["user:ada"]


class Stop(Exception):
    """The database went away."""


def test_a_failed_transaction_leaves_nothing_behind(house: House) -> None:
    house.read(house.identify(email=EMAIL), house.changed(change()))
    step = house.progress()
    batch = Batch(PARTITION, [step], house.clock.now(), house.clock.now(), dict(house.progress_of_reading))
    with suppress(Stop), house.database.transaction() as transaction:
        house.processor.process(transaction, batch)
        raise Stop
    house.processor.forget(PARTITION)
    assert house.messages() == []
    house.read(step)
    assert [each.decision.status for each in house.messages()] == ["sent"]
