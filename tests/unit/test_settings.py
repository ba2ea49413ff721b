"""Settings are read once, with a sentence for what cannot be used."""

from pathlib import Path

import pytest

from schemas.times import DAY
from services.settings import InvalidSetting, Settings, load_settings

NO_FILE = Path("no-such-file.env")


def test_without_anything_set_the_defaults_hold_and_listen_on_loopback() -> None:
    settings = load_settings({}, NO_FILE)
    assert settings == Settings()
    assert settings.address == "http://127.0.0.1:8080"
    assert not settings.cluster


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\nexport PARCOURS_PORT='9000'\nPARCOURS_SETTLE=1s\n\nPARCOURS_WRITE_KEY=wk\n")
    settings = load_settings({"PARCOURS_PORT": "9100", "PARCOURS_EFFECTS_WITHIN": "2d"}, file)
    assert (settings.port, settings.settle, settings.effects_within) == (9100, 1_000, 2 * DAY)
    assert settings.write_key == "wk"
    assert "wk" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"PARCOURS_PORT": "eighty"}, "PARCOURS_PORT"),
        ({"PARCOURS_PARTITIONS": "0"}, "PARCOURS_PARTITIONS"),
        ({"PARCOURS_SETTLE": "soon"}, "PARCOURS_SETTLE"),
        ({"PARCOURS_LOG_LEVEL": "LOUD"}, "PARCOURS_LOG_LEVEL"),
        ({"PARCOURS_TOPIC_PREFIX": "a b"}, "PARCOURS_TOPIC_PREFIX"),
        ({"PARCOURS_KEY_BURST": "0"}, "PARCOURS_KEY_BURST"),
        ({"PARCOURS_ADDRESS_EVENTS_PER_SECOND": "-1"}, "PARCOURS_ADDRESS_EVENTS_PER_SECOND"),
        ({"PARCOURS_TRUSTED_PROXIES": "everybody"}, "PARCOURS_TRUSTED_PROXIES"),
        ({"PARCOURS_MAX_BODY": "1GB"}, "PARCOURS_MAX_BODY"),
        ({"PARCOURS_MAX_EVENT": "1048576"}, "PARCOURS_MAX_EVENT"),
        ({"PARCOURS_PUBLIC_OPERATIONS": "maybe"}, "PARCOURS_PUBLIC_OPERATIONS"),
        ({"DATABASE_URL": "postgresql://x"}, "KAFKA_BOOTSTRAP_SERVERS"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(environment: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named):
        load_settings(environment, NO_FILE)


def test_a_line_that_is_no_setting_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PARCOURS_PORT=1\nnonsense\n")
    with pytest.raises(InvalidSetting, match="line 2"):
        load_settings({}, file)


def test_limits_proxies_and_what_is_public_can_be_set() -> None:
    settings = load_settings(
        {
            "PARCOURS_KEY_EVENTS_PER_SECOND": "5",
            "PARCOURS_ADDRESS_BURST": "7",
            "PARCOURS_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
            "PARCOURS_MAX_BODY": "65536",
            "PARCOURS_PUBLIC_OPERATIONS": "False",
        },
        NO_FILE,
    )
    assert (settings.key_events_per_second, settings.address_burst, settings.max_body) == (5, 7, 65_536)
    assert settings.trusted_proxies == "127.0.0.1, 10.0.0.0/8"
    assert not settings.public_operations
