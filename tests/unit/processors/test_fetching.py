"""Which places pictures may be read from."""

from pathlib import Path

import pytest

from processors.fetching import (
    FetchPolicy,
    FilePlace,
    StoredPlace,
    WebPlace,
    check_address,
    check_below_roots,
    place_of,
)
from schemas.errors import ImageRefused

STRICT = FetchPolicy(roots=(Path("/pictures"),))
OPEN = FetchPolicy(private_allowed=True)


def test_places() -> None:
    assert place_of("https://cdn.example/a.jpg", STRICT) == WebPlace("https://cdn.example/a.jpg", "cdn.example")
    assert place_of("file:///pictures/a%20b.jpg", STRICT) == FilePlace(Path("/pictures/a b.jpg"))
    assert place_of(f"store://originals/{'ab' * 16}", STRICT) == StoredPlace("ab" * 16)
    assert place_of("http://127.0.0.1:9000/a.jpg", OPEN) == WebPlace("http://127.0.0.1:9000/a.jpg", "127.0.0.1")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a.jpg",
        "ftp://host/a.jpg",
        "data:image/png;base64,AAAA",
        "gopher://127.0.0.1/",
        "https:///a.jpg",
        "http://[::1/a.jpg",
        "file://host/pictures/a.jpg",
        "file:pictures/a.jpg",
        "file:///pictures/\x00",
        "store://originals/../secrets",
        f"store://thumbnails/{'ab' * 16}",
        "http://127.0.0.1/a.jpg",
        "http://[::1]/a.jpg",
        "http://[::ffff:10.0.0.1]/a.jpg",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_refused_places(uri: str) -> None:
    with pytest.raises(ImageRefused):
        place_of(uri, STRICT)


def test_files_are_refused_without_roots() -> None:
    with pytest.raises(ImageRefused):
        place_of("file:///pictures/a.jpg", FetchPolicy())


@pytest.mark.parametrize("path", ["/etc/passwd", "/pictures2/a.jpg", "/", "/pictures/../etc/passwd"])
def test_paths_outside_the_roots_are_refused(path: str) -> None:
    check_below_roots(Path("/pictures/deep/a.jpg"), STRICT)
    with pytest.raises(ImageRefused):
        check_below_roots(Path(path).resolve(), STRICT)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
    ],
)
def test_private_addresses_are_refused_in_every_guise(address: str) -> None:
    with pytest.raises(ImageRefused):
        check_address(address, STRICT)
    check_address(address, OPEN)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
def test_public_addresses_are_allowed(address: str) -> None:
    check_address(address, STRICT)
