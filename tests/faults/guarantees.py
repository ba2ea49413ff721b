"""The guarantees that the kill test holds a system to, by name, so that a failure says which one is broken."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["GuaranteeBroken", "guarantee"]


class GuaranteeBroken(AssertionError):
    """A guarantee does not hold. The message begins with its name."""


@contextmanager
def guarantee(name: str) -> Iterator[None]:
    """Whatever fails inside breaks the guarantee of that name."""
    try:
        yield
    except GuaranteeBroken:
        raise
    except AssertionError as error:
        raise GuaranteeBroken(f"{name}: {error}") from error
