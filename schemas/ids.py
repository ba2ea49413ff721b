"""Names of subjects, record keys and partitions. Pure functions; see design notes in docs/glossary.md."""

import struct
from functools import lru_cache

__all__ = [
    "DEFAULT_WORKSPACE",
    "SUBJECT_KINDS",
    "InvalidId",
    "account_subject",
    "anonymous_subject",
    "display_id",
    "murmur2",
    "parse_customer_id",
    "partition_of",
    "record_key",
    "split_key",
    "user_subject",
]

DEFAULT_WORKSPACE = "default"
SUBJECT_KINDS = ("user", "anon", "account")
MAX_ID_BYTES = 512
SEPARATOR = "\x1f"
_PREFIXES = tuple(kind + ":" for kind in SUBJECT_KINDS)


class InvalidId(ValueError):
    """An id is empty, longer than 512 bytes, or holds control characters. Send a printable id."""

    code = "invalid_id"


def _checked(identifier: str) -> str:
    if not identifier.strip():
        raise InvalidId("The id is empty or blank. Send a printable id, or leave the field out.")
    try:
        size = len(identifier.encode())
    except UnicodeEncodeError as error:
        raise InvalidId("The id holds half a surrogate pair. Send well-formed text.") from error
    if size > MAX_ID_BYTES:
        raise InvalidId(f"The id is longer than {MAX_ID_BYTES} bytes. Send a shorter id.")
    if not identifier.isprintable() and any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in identifier):
        raise InvalidId("The id holds control characters. Send a printable id.")
    return identifier


def user_subject(user_id: str) -> str:
    """The subject of a known user: ``user:<id>``. Raises `InvalidId`."""
    return "user:" + _checked(user_id)


def anonymous_subject(anonymous_id: str) -> str:
    """The subject of an anonymous visitor: ``anon:<id>``. Raises `InvalidId`."""
    return "anon:" + _checked(anonymous_id)


def account_subject(group_id: str) -> str:
    """The subject of an account: ``account:<id>``. Raises `InvalidId`."""
    return "account:" + _checked(group_id)


def parse_customer_id(identifier: str) -> str:
    """The subject that an id in the API means. Raises `InvalidId`.

    A bare id is a user's; ``user:``, ``anon:`` and ``account:`` are explicit.
    """
    for prefix in _PREFIXES:
        if identifier.startswith(prefix):
            return prefix + _checked(identifier[len(prefix) :])
    return user_subject(identifier)


def display_id(subject: str) -> str:
    """The id to show in the API for a subject: bare for a user whose id cannot be mistaken for a prefixed one."""
    bare = subject.removeprefix("user:")
    return subject if bare == subject or bare.startswith(_PREFIXES) else bare


def record_key(workspace: str, subject: str) -> bytes:
    """The key of every record about a subject: workspace, 0x1F, subject, in UTF-8."""
    return f"{workspace}{SEPARATOR}{subject}".encode()


def split_key(key: bytes) -> tuple[str, str]:
    """(workspace, subject) of a record key. Raises `InvalidId` when the key has another shape."""
    try:
        workspace, found, subject = key.decode().partition(SEPARATOR)
    except UnicodeDecodeError as error:
        raise InvalidId("The record key is not UTF-8.") from error
    if not (workspace and found and subject.startswith(_PREFIXES)):
        raise InvalidId("The record key is not <workspace> 0x1F <subject>.")
    return workspace, subject


def murmur2(data: bytes) -> int:
    """The 32-bit Murmur2 hash of `data` with the seed that Kafka's default partitioner uses (unsigned)."""
    length = len(data)
    words = length >> 2
    m = 0x5BD1E995
    h = 0x9747B28C ^ length
    for k in struct.unpack_from(f"<{words}I", data):
        k = (k * m) & 0xFFFFFFFF
        k = ((k ^ (k >> 24)) * m) & 0xFFFFFFFF
        h = ((h * m) & 0xFFFFFFFF) ^ k
    tail = length & 3
    if tail:
        h ^= int.from_bytes(data[length - tail :], "little")
        h = (h * m) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * m) & 0xFFFFFFFF
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key among `partitions`: what every Kafka client's default partitioner answers."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
