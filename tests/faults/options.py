"""How often processes are killed, and with which luck: PARCOURS_TEST_KILLS (for each shape) and PARCOURS_TEST_SEED."""

import os
from dataclasses import dataclass

__all__ = ["OPTIONS", "Options"]


@dataclass(frozen=True)
class Options:
    """`kills` for each shape; `seed` decides the population, the victims and the moments."""

    kills: int
    seed: int


OPTIONS = Options(
    kills=int(os.environ.get("PARCOURS_TEST_KILLS", "12")),
    seed=int(os.environ.get("PARCOURS_TEST_SEED", "7")),
)
