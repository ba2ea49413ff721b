"""How much may come from one key and from one address: buckets of tokens, one token an event."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from math import ceil
from typing import Final, NamedTuple

from ingest.ports import Source

__all__ = ["UNKNOWN_KEY_EVENTS", "Rate", "TokenLimits"]

UNKNOWN_KEY_EVENTS: Final = 50
"""What a request with an unknown key takes from its address, so that keys cannot be guessed by the thousand."""

LONGEST_WAIT: Final = 10
"""Seconds. Some SDKs give up after ten tries, however long they were told to wait."""

REMEMBERED: Final = 10_000
"""Addresses, and as many keys, whose use is remembered; those not seen for longest are forgotten first."""

_NETWORK: Final = 64


class Rate(NamedTuple):
    """So many events a second, and so many at once after a pause."""

    events_per_second: int
    burst: int


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at

    def wait(self, rate: Rate, now: float) -> float | None:
        """None: something is left. Otherwise the seconds until there is."""
        tokens = min(float(rate.burst), self.tokens + (now - self.at) * rate.events_per_second)
        self.tokens, self.at = tokens, now
        return None if tokens > 0 else -tokens / rate.events_per_second


class _Buckets:
    """Buckets by key, of which the ones not used for longest are forgotten."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def of(self, key: Hashable, rate: Rate, now: float) -> _Bucket:
        found = self._buckets.get(key)
        if found is not None:
            self._buckets.move_to_end(key)
            return found
        if len(self._buckets) >= REMEMBERED:
            self._buckets.popitem(last=False)
        made = self._buckets[key] = _Bucket(float(rate.burst), now)
        return made


class TokenLimits:
    """The `Limits` of one process. A request is let in as long as anything is left, and may then take more than that:
    the next ones wait until the debt is paid. So a batch greater than the burst passes, too.
    """

    def __init__(self, monotonic: Callable[[], float], per_key: Rate, per_address: Rate) -> None:
        """`monotonic` answers seconds. `per_key` counts where a source has no limits of its own."""
        self._monotonic = monotonic
        self._per_key = per_key
        self._per_address = per_address
        self._keys = _Buckets()
        self._addresses = _Buckets()

    def admit(self, source: Source | None, address: str, events: int) -> int | None:
        """None: go on. Otherwise nothing was taken off, and so many seconds are to pass before the next try.

        `source` is None as long as nobody knows whose the request is: then only the address counts.
        """
        now = self._monotonic()
        of_address = self._addresses.of(_network(address), self._per_address, now)
        wait = of_address.wait(self._per_address, now)
        of_key = None
        if source is not None:
            rate = self._rate(source)
            of_key = self._keys.of((source.workspace, source.name, source.key), rate, now)
            longer = of_key.wait(rate, now)
            wait = longer if wait is None else max(wait, longer or 0.0)
        if wait is not None:
            return max(1, min(LONGEST_WAIT, ceil(wait)))
        of_address.tokens -= events
        if of_key is not None:
            of_key.tokens -= events
        return None

    def _rate(self, source: Source) -> Rate:
        if source.events_per_second is None and source.burst is None:
            return self._per_key
        default = self._per_key
        return Rate(
            default.events_per_second if source.events_per_second is None else source.events_per_second,
            default.burst if source.burst is None else source.burst,
        )


@lru_cache(maxsize=4_096)
def _network(address: str) -> str:
    """Whose an address is: of version 6 everyone has a whole network of them."""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> _NETWORK << _NETWORK))
