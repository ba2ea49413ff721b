"""Campaign files: what they may say, and what sets a campaign off."""

from pathlib import Path
from typing import Any

import pytest

from notifier.definitions import load_definitions
from notifier.domain.model import pending_of, scope_of
from notifier.domain.rendering import LOCALES
from schemas.campaigns import Campaign, load_campaign, load_campaigns
from schemas.changes import Because, TrackChange
from schemas.language import load_definition
from schemas.language_yaml import InvalidDefinition
from schemas.times import DAY, parse_instant

DEFINITIONS = Path(__file__).parents[3] / "definitions"
LINES = "campaign: c\nversion: 1\ntemplate: welcome\n"


def loaded(text: str) -> Campaign:
    """A campaign with these lines beside the usual ones."""
    return load_campaign(f"{LINES}{text}\n").campaign


def news(**given: Any) -> TrackChange:
    """A change."""
    values: dict[str, Any] = {
        "id": "i", "revision": 1, "effect_id": "e", "workspace": "default", "subject": "user:ada",
        "lifecycle": "default", "version": 1, "track": "stage", "ordinal": 0, "step": 0, "from_": None,
        "to": "adoption", "transition": "t", "visit": 1, "effective_at": "2026-11-03T10:00:00.000Z",
        "recorded_at": "2026-11-03T10:00:01.000Z", "reason": None, "because": Because("clock"), "actions": (),
    }  # fmt: skip
    return TrackChange(**{**values, **given})


def test_every_notify_of_the_default_lifecycle_has_a_campaign_and_each_campaign_its_template() -> None:
    campaigns, templates = load_definitions(DEFINITIONS)
    lifecycle = load_definition((DEFINITIONS / "lifecycles" / "default.yaml").read_bytes())
    asked = {
        action.notify
        for track in lifecycle.tracks.values()
        for stage in track.stages.values()
        for action in stage.on_enter
        if action.notify is not None
    }
    assert len(asked) == 8
    assert {campaign.on.notify for campaign in campaigns if campaign.on.notify} == asked
    assert all(campaign.template in templates for campaign in campaigns)


def test_every_segment_campaign_names_a_stage_that_exists() -> None:
    campaigns, _ = load_definitions(DEFINITIONS)
    segments = load_definition((DEFINITIONS / "segments" / "segments.yaml").read_bytes())
    triggers = [campaign.on.segment for campaign in campaigns if campaign.on.segment]
    assert len(triggers) == 2
    for trigger in triggers:
        assert trigger.segments == segments.lifecycle
        assert set(trigger.enters) <= set(segments.tracks[trigger.track].stages)


def test_a_notify_action_sets_off_the_campaigns_on_it_and_no_campaign_by_its_name() -> None:
    change = news(actions=({"task": "c"}, {"notify": "hello"}))
    assert loaded("on: {notify: hello}").set_off_by(change, segment=False)
    assert not loaded("on: {notify: c}").set_off_by(change, segment=False)
    assert not loaded("on: {notify: hello}").set_off_by(news(), segment=False)


def test_a_stage_trigger_asks_for_lifecycle_track_and_stage() -> None:
    campaign = loaded("on: {stage: {lifecycle: default, track: stage, enters: [adoption, retention]}}")
    assert campaign.set_off_by(news(), segment=False)
    assert campaign.set_off_by(news(to="retention"), segment=False)
    for other in (news(to="churned"), news(track="rewards"), news(lifecycle="trial")):
        assert not campaign.set_off_by(other, segment=False)
    assert not campaign.set_off_by(news(), segment=True)


def test_a_segment_trigger_asks_for_track_and_stage_of_a_segments_file() -> None:
    campaign = loaded("on: {segment: {track: engaged, enters: unengaged}}")
    change = news(lifecycle="segments", track="engaged", to="unengaged")
    assert campaign.set_off_by(change, segment=True)
    assert not campaign.set_off_by(change, segment=False)
    assert not campaign.set_off_by(news(lifecycle="segments", track="engaged", to="engaged"), segment=True)


def test_what_is_not_said_is_once_per_visit_by_mail_for_three_days() -> None:
    campaign = loaded("on: {notify: a}")
    assert (campaign.once_per, campaign.channel, campaign.valid_for, campaign.paused) == (
        "visit",
        "email",
        3 * DAY,
        False,
    )


@pytest.mark.parametrize(
    ("once_per", "scope"),
    [("visit", "e"), ("subject", ""), ("30d", f"{30 * DAY}:{parse_instant('2026-11-03T10:00:00Z') // (30 * DAY)}")],
)
def test_the_scope_is_the_effect_the_whole_life_or_a_bucket_of_time(once_per: str, scope: str) -> None:
    campaign = loaded(f"on: {{notify: a}}\nonce_per: {once_per}")
    assert scope_of(campaign, pending_of(news(), campaign, "t", 0)) == scope


def test_a_message_is_valid_from_when_its_change_became_known() -> None:
    campaign = loaded("on: {notify: a}\nvalid_for: 2h")
    change = news(effective_at="2020-01-01T00:00:00Z", recorded_at="2026-11-03T10:00:01.000Z")
    assert pending_of(change, campaign, "t", 0).expires_at == parse_instant("2026-11-03T12:00:01Z")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("on: {}", 4, "exactly one"),
        ("on: {notify: a, segment: {track: b, enters: c}}", 4, "exactly one"),
        ("on: {notify: a b}", 4, "identifier"),
        ("on: {stage: {track: b, enters: c}}", 4, "`lifecycle` is missing"),
        ("on: {notify: a}\nonce_per: 3 days", 5, "visit, subject, or a duration"),
        ("on: {notify: a}\nonce_per: 0d", 5, "visit, subject, or a duration"),
        ("on: {notify: a}\nvalid_for: 0s", 5, "longer than nothing"),
        ("on: {notify: a}\nchannel: pigeon", 5, "'email'"),
        ("on: {notify: a}\npaused: no", 5, "true or false"),
        ("on: {notify: a}\ncolour: red", 5, "`colour` is not known"),
        ("on: {notify: a}\nversion: 2", 5, "twice"),
        ("", 1, "`on` is missing"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_sentence(text: str, line: int, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        load_campaign(f"{LINES}{text}\n", "c.yaml")
    [problem] = caught.value.problems
    assert (problem.file, problem.line) == ("c.yaml", line)
    assert words in problem.sentence


def test_two_files_may_not_define_one_campaign() -> None:
    text = f"{LINES}on: {{notify: a}}".encode()
    with pytest.raises(InvalidDefinition, match=r"b\.yaml:1:11: The campaign c is already defined in a\.yaml"):
        load_campaigns({"a.yaml": text, "b.yaml": text})


def test_a_campaign_without_its_template_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns" / "c.yaml").write_text(LINES.replace("welcome", "nothing") + "on: {notify: a}\n")
    with pytest.raises(InvalidDefinition, match=r"c\.yaml:3:11: There is no template nothing\."):
        load_definitions(tmp_path)


def test_own_templates_stand_beside_the_shipped_ones_and_in_their_place(tmp_path: Path) -> None:
    for locale in LOCALES:
        for name in ("mine", "welcome"):
            folder = tmp_path / "templates" / name / locale
            folder.mkdir(parents=True)
            for part in ("subject.txt", "body.txt", "body.html"):
                (folder / part).write_text(f"My own {part}")
    _, templates = load_definitions(tmp_path)
    assert "mine" in templates
    assert "win_back" in templates
    assert templates.render("welcome", {}, "en").subject == "My own subject.txt"
