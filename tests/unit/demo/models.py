"""Where the definitions are that the demonstration is written for."""

from pathlib import Path

__all__ = ["DEFAULT"]

DEFAULT = Path(__file__).parents[3] / "definitions" / "lifecycles" / "default.yaml"
