"""Names before they are looked up, and addresses before they are connected to."""

import socket
from contextlib import closing
from typing import Any

import pytest

from processors.fetching.policy import FetchPolicy
from schemas.errors import ImageRefused
from streams.fetching.names import Names, zone_of
from streams.fetching.resolving import Resolver, checked_socket


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("localhost", "localhost"),
        ("cdn.example", "cdn.example"),
        ("a.b.CDN.example.", "cdn.example"),
        ("img.shop.co.uk", "shop.co.uk"),
        ("shop.co.uk", "shop.co.uk"),
        ("a.shop.com.au", "shop.com.au"),
        ("a.b.shop.de", "shop.de"),
        ("x.y.io", "x.y.io"),
    ],
)
def test_names_of_one_owner_share_a_zone(host: str, zone: str) -> None:
    assert zone_of(host) == zone


@pytest.mark.parametrize("addresses", [["93.184.216.34", "10.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["::1"]])
async def test_one_private_address_refuses_the_name(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    def look_up(_: str, port: int, *__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with closing(Names()) as names:
        with pytest.raises(ImageRefused):
            await Resolver(names, FetchPolicy()).resolve("cdn.example", 443)
        trusting = await Resolver(names, None).resolve("cdn.example", 443)
    assert [found["host"] for found in trusting] == addresses
    assert all(found["flags"] & socket.AI_NUMERICHOST for found in trusting), "nothing is looked up once more"


def test_a_private_address_gets_no_socket() -> None:
    with pytest.raises(ImageRefused):
        checked_socket(FetchPolicy(), (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)))
