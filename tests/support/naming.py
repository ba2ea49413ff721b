"""Names of parametrized tests: every process of a run must make the same ones."""

__all__ = ["pytest_make_parametrize_id"]

_SHOWN_BYTES = 64


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that nobody can read are named by their number: gzip writes the time of day into them."""
    if isinstance(val, bytes) and not (len(val) <= _SHOWN_BYTES and val.isascii() and val.decode().isprintable()):
        return f"{argname}-{len(val)}-bytes"
    return None
