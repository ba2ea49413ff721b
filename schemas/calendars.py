"""Calendar zones from the pinned time zone database, so that a day means the same on every machine."""

from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

__all__ = ["UnknownZone", "load_zone"]


class UnknownZone(ValueError):
    """The time zone is not known. Write it like Europe/Paris or UTC."""

    code = "unknown_zone"


@lru_cache(maxsize=256)
def load_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name, read from the `tzdata` package and never from the machine. Raises `UnknownZone`."""
    parts = name.split("/")
    if not all(part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts):
        raise UnknownZone("The time zone is not known. Write it like Europe/Paris or UTC.")
    source = resources.files("tzdata").joinpath("zoneinfo", *parts)
    if not source.is_file():
        raise UnknownZone(f"The time zone `{name[:64]}` is not known. Write it like Europe/Paris or UTC.")
    with source.open("rb") as file:
        try:
            return ZoneInfo.from_file(file, key=name)
        except ValueError:
            raise UnknownZone(f"`{name[:64]}` is no time zone. Write it like Europe/Paris or UTC.") from None
