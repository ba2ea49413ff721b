"""Instants, numbers, labels and explanations as people read them."""

import pytest

from schemas.language import load_definition
from schemas.times import DAY, HOUR, MINUTE, SECOND
from services.web.catalog import Catalog, StageName, customer_href, stage_href
from services.web.facts import (
    ActivityFact,
    ChangeFact,
    CheckFact,
    EvidenceFact,
    ExplanationFact,
    Place,
    StageCount,
    WayFact,
)
from services.web.moments import Moments
from services.web.views import days, grouped, panels, worded
from services.web.why import why_view
from tests.unit.demo.models import DEFAULT

NOW = 1_795_358_000_000  # 2026-11-22T14:33:20Z
CATALOG = Catalog([load_definition(DEFAULT.read_bytes())])
MOMENTS = Moments(NOW)
ADOPTION = Place("default", "stage", "adoption")


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (0, "just now"),
        (-30 * SECOND, "just now"),
        (59 * SECOND, "just now"),
        (MINUTE, "1 min ago"),
        (59 * MINUTE, "59 min ago"),
        (HOUR, "1 h ago"),
        (23 * HOUR, "23 h ago"),
        (DAY, "1 day ago"),
        (29 * DAY, "29 days ago"),
        (30 * DAY, "23 October"),
        (400 * DAY, "18 October 2025"),
        (-2 * DAY, "24 November"),
    ],
)
def test_the_past_is_told_by_its_age_up_to_a_month_then_by_its_day(age: int, text: str) -> None:
    assert MOMENTS.ago(NOW - age).text == text


def test_every_instant_has_its_exact_time_beside_it() -> None:
    moment = MOMENTS.ago(NOW - DAY)
    assert moment.iso == "2026-11-21T14:33:20.000Z"
    assert moment.full == "21 November 2026, 14:33:20 UTC"


@pytest.mark.parametrize(
    ("ahead", "text"),
    [(22 * DAY, "14 December"), (40 * DAY, "1 January 2027"), (DAY, "23 November at 14:33 UTC")],
)
def test_the_future_is_told_by_its_day_and_soon_by_its_hour(ahead: int, text: str) -> None:
    assert MOMENTS.on(NOW + ahead).text == text


def test_numbers_and_values_are_short() -> None:
    assert grouped(1_234_567) == "1\u202f234\u202f567"
    assert [worded(value) for value in (True, None, {"a": 1}, [1, 2], 42.5, "a\n b", "x" * 99)] == [
        "yes", "–", "1 fields", "2 items", "42.5", "a b", "x" * 59 + "…",
    ]  # fmt: skip


def test_addresses_keep_ids_apart_from_paths() -> None:
    assert customer_href("a/b?c#d%20 é") == "/customers/a%2Fb%3Fc%23d%2520%20%C3%A9"
    assert stage_href("default", "stage", "at_risk") == "/stages/default/stage/at_risk"


def test_what_no_active_definition_names_reads_as_plain_words() -> None:
    assert CATALOG.stage("default", "stage", "old_stage") == StageName("old_stage", "Old stage", "")
    assert CATALOG.why("default", "was_removed") == "Was removed"
    assert CATALOG.why("default", "purchase") == "First purchase or subscription"


def test_panels_have_a_bar_for_every_stage_and_the_primary_track_first() -> None:
    shown = panels(CATALOG, [StageCount(ADOPTION, 30), StageCount(Place("default", "stage", "churned"), 10)])
    assert [panel.title for panel in shown] == ["Stage", "Rewards"]
    assert (shown[0].total, len(shown[0].bars), shown[1].total) == (40, 10, 0)
    bars = {bar.label: bar for bar in shown[0].bars}
    assert (bars["Adoption"].width, bars["Adoption"].share) == (100, "75 %")
    assert (bars["Churned"].width, bars["Churned"].share) == (33.3, "25 %")
    assert (bars["Decision"].width, bars["Decision"].count) == (0, "0")


def test_one_customer_among_many_still_has_a_bar_that_can_be_seen() -> None:
    counts = [StageCount(ADOPTION, 100_000), StageCount(Place("default", "stage", "churned"), 1)]
    assert next(bar.width for bar in panels(CATALOG, counts)[0].bars if bar.label == "Churned") == 0.8


def test_a_timeline_is_grouped_by_day_latest_first_with_changes_above_their_events() -> None:
    activity = [ActivityFact("Page Viewed", NOW - 2 * DAY, {}), ActivityFact("Order Completed", NOW, {"revenue": 42})]
    changes = [
        ChangeFact("ada", "default", "stage", None, "awareness", "initial", None, NOW - 2 * DAY, 0),
        ChangeFact("ada", "default", "stage", "awareness", "adoption", "purchase", None, NOW, 0),
        ChangeFact("ada", "default", "stage", "adoption", "retention", "activated", None, NOW, 1),
    ]
    shown = [
        (day.title, [entry.change.target.label if entry.change else entry.name for entry in day.entries])
        for day in days(CATALOG, MOMENTS, changes, activity)
    ]
    assert shown == [
        ("22 November", ["Retention", "Adoption", "Order Completed"]),
        ("20 November", ["Awareness", "Page Viewed"]),
    ]


def explanation(*ways: WayFact, by_clock: bool = False, visit: int = 1, reason: str | None = None) -> ExplanationFact:
    """An explanation of being in adoption."""
    evidence = (EvidenceFact("Order Completed", NOW - DAY),)
    return ExplanationFact(ADOPTION, NOW - DAY, visit, reason, "purchase", by_clock, evidence, ways)


def test_an_explanation_says_what_led_here_when_why_and_how_often() -> None:
    why = why_view(CATALOG, MOMENTS, explanation(visit=2, reason="never_set_up", by_clock=True))
    assert why.sentence == (
        "First purchase or subscription: here since 21 November at 14:33 UTC, for the 2nd time."
        " The reason on record is “never set up”. No event caused this; the time that passed did."
    )
    assert [item.text for item in why.evidence] == ["Order Completed"]


def test_what_happens_by_itself_comes_first_and_says_when() -> None:
    event = CheckFact("Account Deleted happens", False, "nothing yet", "the event", "all")
    quiet = CheckFact("no use events for 7 days", False, "1 day", "7 days", "all")
    help_sought = CheckFact("setup_help events: at least 5", False, "2", "at least 5", "all")
    why = why_view(
        CATALOG,
        MOMENTS,
        explanation(
            WayFact("deleted", "churned", True, False, None, (event,)),
            WayFact("stuck_in_setup", "at_risk", False, False, None, (help_sought,)),
            WayFact("never_starts", "at_risk", False, False, NOW + 22 * DAY, (quiet,)),
        ),
    )
    assert [way.outlook + (way.until.text if way.until else "") + way.condition for way in why.ways] == [
        "Turns true on14 December if nothing happens.",
        "Not met; time alone will not change that.",
        "Needs this event:",
    ]
    assert [way.checks[0].progress for way in why.ways] == [
        "now 1 day, needed 7 days", "now 2, needed at least 5", "",
    ]  # fmt: skip


def test_alternatives_are_joined_by_or_and_conditions_of_one_alternative_are_not() -> None:
    groups = ("any/1/all", "any/1/all", "any/2/all", "any", "any", "all")
    checks = tuple(CheckFact(f"c{number}", False, "", "", group) for number, group in enumerate(groups))
    why = why_view(CATALOG, MOMENTS, explanation(WayFact("activated", "retention", False, False, None, checks)))
    assert [check.alternative for check in why.ways[0].checks] == [False, False, True, True, True, False]


@pytest.mark.parametrize(
    ("number", "text"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th"), (21, "21st")]
)
def test_visits_are_counted_in_words(number: int, text: str) -> None:
    assert f"for the {text} time" in why_view(CATALOG, MOMENTS, explanation(visit=number)).sentence
