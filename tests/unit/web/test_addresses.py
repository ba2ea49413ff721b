"""Addresses of clients: a proxy's word counts when the proxy is trusted, and nobody else's."""

import re

import pytest

from services.web.addresses import Proxies, parse_networks

PROXIES = Proxies(parse_networks("127.0.0.1, 10.0.0.0/8, 2001:db8::/32"))


def test_without_trusted_proxies_the_peer_counts() -> None:
    assert Proxies().address("192.0.2.1", b"198.51.100.7") == "192.0.2.1"
    assert not Proxies().trusted("127.0.0.1")


def test_a_stranger_cannot_say_who_it_is() -> None:
    assert PROXIES.address("192.0.2.1", b"198.51.100.7") == "192.0.2.1"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (b"198.51.100.7", "198.51.100.7"),
        (b"203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (b"127.0.0.1, 198.51.100.7", "198.51.100.7"),
        (b"198.51.100.7, 10.1.2.3", "198.51.100.7"),
        (b"198.51.100.7,10.1.2.3 , 127.0.0.1", "198.51.100.7"),
        (b"10.9.9.9, 10.1.2.3", "10.9.9.9"),
        (b"198.51.100.7:4711", "198.51.100.7"),
        (b"[2001:470::1]:4711", "2001:470::1"),
        (b"2001:0470::0001", "2001:470::1"),
        (b"::ffff:198.51.100.7", "198.51.100.7"),
    ],
)
def test_the_first_from_the_right_that_is_no_trusted_proxy_counts(forwarded: bytes, address: str) -> None:
    assert PROXIES.address("127.0.0.1", forwarded) == address


@pytest.mark.parametrize(
    "forwarded",
    [
        b"",
        b"127.0.0.1, <script>",
        b"198.51.100.7, <script>",
        b"198.51.100.7,",
        b"unknown",
        b"localhost",
        b"198.51.100.7\x00",
        b"198.51.100.007",
        b"\xff\xfe",
        b"1" * 10_000,
        b"198.51.100.7" + b", 10.1.2.3" * 5_000,
        b"," * 10_000,
    ],
)
def test_what_is_no_address_makes_the_proxy_itself_count(forwarded: bytes) -> None:
    assert PROXIES.address("127.0.0.1", forwarded) == "127.0.0.1"


def test_proxies_of_either_version_are_known() -> None:
    assert PROXIES.trusted("2001:db8::5")
    assert PROXIES.trusted("::ffff:10.0.0.1")
    assert not PROXIES.trusted("2001:db9::5")
    assert not PROXIES.trusted("")


@pytest.mark.parametrize("text", ["nowhere", "10.0.0.1/8", "10.0.0.0/33", "::1::", "10.0.0.0/8;::1"])
def test_only_addresses_and_networks_can_be_trusted(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_networks(text)
