"""Which places pictures may be read from."""

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from yarl import URL

from processors.fetching.policy import (
    FetchPolicy,
    FilePlace,
    ObjectPlace,
    StoredPlace,
    WebPlace,
    check_address,
    check_below_roots,
    place_of,
    redirected,
)
from schemas.errors import ImageRefused

STRICT = FetchPolicy(roots=(Path("/pictures"),), buckets=frozenset({"shop-pictures"}))
OPEN = FetchPolicy(private_allowed=True)
LISTED = FetchPolicy(
    networks=(ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("169.254.169.254/32")),
    hosts=frozenset({"images.shop.internal"}),
)


def web(uri: str) -> WebPlace:
    place = place_of(uri, STRICT)
    assert isinstance(place, WebPlace)
    return place


def test_places() -> None:
    assert web("https://cdn.example/a.jpg") == WebPlace(URL("https://cdn.example/a.jpg"))
    assert place_of("file:///pictures/a%20b.jpg", STRICT) == FilePlace(Path("/pictures/a b.jpg"))
    assert place_of("s3://shop-pictures/a b/%20+ä.jpg", STRICT) == ObjectPlace("shop-pictures", "a b/%20+ä.jpg")
    assert place_of(f"store://originals/{'ab' * 16}", STRICT) == StoredPlace("ab" * 16)
    assert place_of("http://127.0.0.1:9000/a.jpg", OPEN) == WebPlace(URL("http://127.0.0.1:9000/a.jpg"))


def test_a_file_name_need_not_be_utf_8() -> None:
    place = place_of("file:///pictures/%ff.jpg", STRICT)
    assert isinstance(place, FilePlace)
    assert bytes(place.path) == b"/pictures/\xff.jpg"


def test_a_signed_address_is_asked_as_it_was_signed() -> None:
    signed = "https://cdn.example/a%2Fb.jpg?X-Signature=a%2Fb%3D&e=%7E"
    assert str(web(signed).url) == signed
    assert web("https://cdn.example/ä b.jpg").url.raw_path == "/%C3%A4%20b.jpg"


def test_an_origin_is_what_is_down_as_one() -> None:
    assert web("https://CDN.example/a").origin == web("https://cdn.example:443/b").origin
    assert web("http://cdn.example/a").origin != web("https://cdn.example/a").origin


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a.jpg",
        "ftp://host/a.jpg",
        "data:image/png;base64,AAAA",
        "gopher://127.0.0.1/",
        "https:///a.jpg",
        "https:a.jpg",
        "//cdn.example/a.jpg",
        "http://[::1/a.jpg",
        "http://cdn.example:99999/a.jpg",
        "file://host/pictures/a.jpg",
        "file:pictures/a.jpg",
        "file:///pictures/\x00",
        "file:///pictures/%00",
        "store://originals/../secrets",
        f"store://thumbnails/{'ab' * 16}",
        "s3://other/a.jpg",
        "s3://shop-pictures",
        "s3://shop-pictures/",
        "s3://shop-pictures/../other/a.jpg",
        "s3://shop-pictures/a/./b.jpg",
        "s3://shop-pictures/a\nb.jpg",
        f"s3://shop-pictures/{'ä' * 600}",
        "s3://SHOP-PICTURES/a.jpg",
        "s3://shop-pictures@other/a.jpg",
        "http://exa mple.com/a.jpg",
        "http://h%00/a.jpg",
        "http://h%2f/a.jpg",
        "http://.../a.jpg",
        "http://cdn.example\r\nHost: other/a.jpg",
        "http://cdn.example/a\tb.jpg",
    ],
)
def test_refused_places(uri: str) -> None:
    with pytest.raises(ImageRefused):
        place_of(uri, STRICT)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:a00:1]",
        "169.254.169.254",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.0.01",
        "0",
        "127.0.0.1.",
        "1.2.3.4.5",
        "cdn.example@127.0.0.1",
        "user:password@cdn.example",
        "@127.0.0.1",
        "cdn.example:80@127.0.0.1",
        "cdn.example\\@127.0.0.1",
        "127.0.0.1\\@cdn.example",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "１２７.0.0.1",
        "%31%32%37.0.0.1",
        "[fe80::1%25eth0]",
        "[2606:2800:220:1:248:1893:25c8:1946%25eth0]",
        "127.0.0.1#@cdn.example",
        "127.0.0.1?@cdn.example",
    ],
)
def test_hosts_that_are_private_addresses_in_disguise(host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(ImageRefused):
            place_of(f"{scheme}://{host}/a.jpg", STRICT)


@pytest.mark.parametrize("odd", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "1249763844"])
def test_odd_forms_of_addresses_are_refused_even_where_private_ones_are_not(odd: str) -> None:
    with pytest.raises(ImageRefused):
        place_of(f"http://{odd}/a.jpg", OPEN)


def test_files_and_buckets_are_refused_unless_they_are_named() -> None:
    for uri in ("file:///pictures/a.jpg", "s3://shop-pictures/a.jpg"):
        with pytest.raises(ImageRefused, match="FRESHLENS_FETCH_"):
            place_of(uri, FetchPolicy())


@pytest.mark.parametrize("path", ["/etc/passwd", "/pictures2/a.jpg", "/", "/pictures/../etc/passwd"])
def test_paths_outside_the_roots_are_refused(path: str) -> None:
    assert check_below_roots(Path("/pictures/deep/a.jpg"), STRICT) == Path("/pictures")
    with pytest.raises(ImageRefused):
        check_below_roots(Path(path).resolve(), STRICT)


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "192.0.0.8",
    "192.88.99.1",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "::",
    "::7f00:1",
    "fc00::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:5db8:d822::",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
]
FORBIDDEN = [
    "169.254.169.254",
    "169.254.170.2",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_in_every_guise(address: str) -> None:
    with pytest.raises(ImageRefused, match="FRESHLENS_FETCH_PRIVATE"):
        check_address(address, STRICT)
    check_address(address, OPEN)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_metadata_services_are_refused_even_where_private_addresses_are_not(address: str) -> None:
    for policy in (STRICT, OPEN):
        with pytest.raises(ImageRefused, match="FRESHLENS_FETCH_ALLOW"):
            check_address(address, policy)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
def test_public_addresses_are_allowed(address: str) -> None:
    check_address(address, STRICT)


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ImageRefused):
        check_address("2130706433", OPEN)


def test_what_is_listed_is_allowed_and_nothing_else() -> None:
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "169.254.169.254"):
        check_address(address, LISTED)
    with pytest.raises(ImageRefused):
        check_address("10.2.0.1", LISTED)
    place = place_of("http://Images.Shop.Internal./a.jpg", LISTED)
    assert isinstance(place, WebPlace)
    assert place.is_trusted
    for host in ("x.images.shop.internal", "images.shop.internal.example", "cdn.example"):
        place = place_of(f"http://{host}/a.jpg", LISTED)
        assert isinstance(place, WebPlace)
        assert not place.is_trusted


def test_redirects_are_places_like_any_other() -> None:
    start = web("https://cdn.example/a/b.jpg")
    assert str(redirected(start, "../c.jpg?d", STRICT).url) == "https://cdn.example/c.jpg?d"
    assert str(redirected(start, "//other.example/c.jpg", STRICT).url) == "https://other.example/c.jpg"
    assert redirected(web("http://cdn.example/"), "https://cdn.example/", STRICT).url.scheme == "https"
    for location in (
        "http://cdn.example/a.jpg",
        "file:///pictures/a.jpg",
        "s3://shop-pictures/a.jpg",
        f"store://originals/{'ab' * 16}",
        "https://169.254.169.254/",
        "https://user@cdn.example/",
        "//[::1]/",
        "javascript:x",
    ):
        with pytest.raises(ImageRefused):
            redirected(start, location, STRICT)


def test_trust_in_a_host_ends_with_a_redirect_to_another() -> None:
    policy = replace(LISTED, private_allowed=False)
    start = place_of("http://images.shop.internal/a.jpg", policy)
    assert isinstance(start, WebPlace)
    assert not redirected(start, "http://cdn.example/a.jpg", policy).is_trusted
    with pytest.raises(ImageRefused):
        redirected(start, "http://127.0.0.1/", policy)
