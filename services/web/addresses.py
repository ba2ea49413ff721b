"""Whose address a request comes from: the peer's, or what a proxy that is trusted says of it."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

__all__ = ["Network", "Proxies", "parse_networks"]

Network = IPv4Network | IPv6Network

_CACHED: Final = 4_096
_CACHED_LENGTH: Final = 64
_HOPS: Final = 32


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks from addresses and networks with commas between them. Raises `ValueError` for one that is neither."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


class Proxies:
    """The proxies that may say for whom they ask (`X-Forwarded-For`)."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        """Where the trusted proxies are; without any, nobody's word counts."""
        self._networks = tuple(networks)
        self._known = lru_cache(_CACHED)(self._look)

    def trusted(self, peer: str) -> bool:
        """Whether the peer of a connection is such a proxy, so that its `X-Forwarded-...` headers count."""
        found = self._read(peer)
        return found is not None and found[1]

    def address(self, peer: str, forwarded: bytes | None) -> str:
        """The address of the client, given the connection's peer and the values of `X-Forwarded-For`.

        Each proxy adds on the right whom it was asked by, so the first one from the right that is no trusted proxy
        counts. Whatever is no address there makes the peer count.
        """
        if forwarded is None or not self._networks or not self.trusted(peer):
            return peer
        parts = forwarded.decode("latin-1").rsplit(",", _HOPS)
        if len(parts) > _HOPS:
            return peer
        last = peer
        for part in reversed(parts):
            found = self._read(part)
            if found is None:
                return peer
            last, is_trusted = found
            if not is_trusted:
                break
        return last

    def _read(self, text: str) -> tuple[str, bool] | None:
        return self._known(text) if len(text) <= _CACHED_LENGTH else None

    def _look(self, text: str) -> tuple[str, bool] | None:
        """An address as it is usually written, and whether it is a trusted proxy's; None: it is no address."""
        try:
            found = _parse(text.strip())
        except ValueError:
            return None
        return str(found), any(found in network for network in self._networks)


def _parse(text: str) -> IPv4Address | IPv6Address:
    """An address, with or without a port. Raises `ValueError`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    found = ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return found if mapped is None else mapped
