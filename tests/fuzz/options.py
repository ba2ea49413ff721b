"""How much is sent, with which luck: PARCOURS_FUZZ_INPUTS and PARCOURS_FUZZ_SEED; more in continuous integration."""

import os
from dataclasses import dataclass

__all__ = ["OPTIONS", "Options"]


@dataclass(frozen=True)
class Options:
    """So many inputs in all; every one of them follows from `seed` and its number."""

    inputs: int
    seed: int

    @property
    def raw(self) -> int:
        """The share of the inputs that goes through a socket as bytes."""
        return self.inputs // 4

    @property
    def requests(self) -> int:
        """The share of the inputs that are requests an HTTP parser has let through."""
        return self.inputs - self.raw


OPTIONS = Options(
    inputs=int(os.environ.get("PARCOURS_FUZZ_INPUTS", "100000" if os.environ.get("CI") == "true" else "4000")),
    seed=int(os.environ.get("PARCOURS_FUZZ_SEED", "7")),
)
