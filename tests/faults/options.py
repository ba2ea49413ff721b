"""How often things are broken, and with which luck: PARCOURS_TEST_KILLS and others; more in continuous integration."""

import os
from dataclasses import dataclass

__all__ = ["OPTIONS", "Options"]


@dataclass(frozen=True)
class Options:
    """`kills` of any service, for each shape; `seed` decides the population, the victims and the moments.

    `door_kills` of the door alone, for each shape; `broker_kills` and `broker_pauses` of Apache Kafka under the door.
    """

    kills: int
    seed: int
    door_kills: int
    broker_kills: int
    broker_pauses: int


def _number(name: str, usually: int, in_integration: int) -> int:
    default = in_integration if os.environ.get("CI") == "true" else usually
    return int(os.environ.get(f"PARCOURS_TEST_{name}", default))


OPTIONS = Options(
    kills=_number("KILLS", 12, 12),
    seed=_number("SEED", 7, 7),
    door_kills=_number("DOOR_KILLS", 6, 20),
    broker_kills=_number("BROKER_KILLS", 3, 10),
    broker_pauses=_number("BROKER_PAUSES", 2, 5),
)
