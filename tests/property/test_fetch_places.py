"""No address that is not public gets past, in whatever form: judged by ``ipaddress`` and by the C library's parser."""

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from processors.fetching.policy import (
    FetchPolicy,
    FilePlace,
    ObjectPlace,
    WebPlace,
    check_address,
    place_of,
    redirected,
)
from schemas.errors import ImageRefused

POLICY = FetchPolicy(roots=(Path("/pictures"),), buckets=frozenset({"shop-pictures"}))
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

V4 = st.one_of(
    st.integers(0, 2**32 - 1),
    *(
        st.integers(int(network.network_address), int(network.broadcast_address))
        for network in map(
            ipaddress.IPv4Network,
            ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"],
        )
    ),
).map(ipaddress.IPv4Address)
EMBEDDINGS: tuple[Callable[[int], int], ...] = (
    lambda v4: int(ipaddress.IPv6Address("::ffff:0:0")) + v4,
    lambda v4: int(ipaddress.IPv6Address("64:ff9b::")) + v4,
    lambda v4: int(ipaddress.IPv6Address("64:ff9b:1::")) + v4,
    lambda v4: (0x2002 << 112) + (v4 << 80) + 1,
    lambda v4: (0x20010000 << 96) + (v4 << 64) + 1,
    lambda v4: (0x20010000 << 96) + (0x5DB8D822 << 64) + (v4 ^ 0xFFFFFFFF),
    lambda v4: v4,
)
V6 = st.one_of(
    st.integers(0, 2**128 - 1),
    st.integers(0x2 << 124, (0x4 << 124) - 1),
    st.builds(lambda embed, v4: embed(int(v4)), st.sampled_from(EMBEDDINGS), V4),
).map(ipaddress.IPv6Address)
ADDRESSES = st.one_of(V4, V6)


def is_harmless(address: Address) -> bool:
    """By the standard library alone, with every address that an IPv6 address is known to lead to."""
    if not address.is_global or address.is_multicast or address.is_link_local or address.is_reserved:
        # Only as a way to IPv4, which is judged instead.
        return (
            isinstance(address, ipaddress.IPv6Address)
            and (led_to := leads_to(address)) != []
            and all(map(is_harmless, led_to))
        )
    return not isinstance(address, ipaddress.IPv6Address) or all(map(is_harmless, leads_to(address)))


def leads_to(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in ipaddress.IPv6Network("64:ff9b::/96") or int(address) < 2**32:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def passes(address: str) -> bool:
    try:
        check_address(address, POLICY)
    except ImageRefused:
        return False
    return True


@given(ADDRESSES)
def test_what_passes_is_global_by_every_reading(address: Address) -> None:
    if passes(str(address)):
        assert is_harmless(address)


@given(V4)
def test_an_ipv4_address_is_judged_alike_in_every_guise_that_is_not_refused_as_such(address: Address) -> None:
    for embed in EMBEDDINGS:
        if passes(str(ipaddress.IPv6Address(embed(int(address))))):
            assert passes(str(address))


def odd_forms(value: int, radix: str, parts: int) -> str:
    """As ``inet_aton`` reads it: 1 to 4 parts, each decimal, octal or hexadecimal, the last one with all the rest."""
    bits = [value >> 24 & 255, value >> 16 & 255, value >> 8 & 255]
    numbers = [*bits[: parts - 1], value & (2 ** (8 * (5 - parts)) - 1)]
    return ".".join({"8": f"0{number:o}", "16": f"0x{number:X}", "10": str(number)}[radix] for number in numbers)


@given(V4, st.sampled_from(["8", "10", "16"]), st.integers(1, 4), st.sampled_from(["", "."]))
def test_odd_forms_of_addresses_pass_only_as_public_ones_in_their_usual_form(
    address: ipaddress.IPv4Address, radix: str, parts: int, dot: str
) -> None:
    text = odd_forms(int(address), radix, parts)
    assert socket.inet_aton(text) == address.packed, "the test itself"
    try:
        place_of(f"http://{text}{dot}/a.jpg", POLICY)
    except ImageRefused:
        return
    assert text == str(address)
    assert is_harmless(address)


HOSTILE = st.text(st.sampled_from("hftps:/\\@#?[]%.0127xaA①。１ \t\r\n-_~é") | st.characters(), max_size=40)
HOSTS = st.one_of(
    HOSTILE,
    st.text(st.sampled_from("0127x.afF①②⑦⓪。１%25[]:@"), min_size=1, max_size=20),
    ADDRESSES.map(str),
    ADDRESSES.map(lambda address: f"[{address}]"),
)
URIS = st.one_of(
    HOSTILE,
    st.builds("{}://{}{}".format, st.sampled_from(["http", "https", "HTTP"]), HOSTS, HOSTILE),
    st.builds("{}://{}@{}/".format, st.sampled_from(["http", "https"]), HOSTILE, HOSTS),
    st.builds("file://{}".format, HOSTILE),
    st.builds("s3://shop-pictures{}".format, HOSTILE),
    st.builds("s3://{}/{}".format, HOSTILE, HOSTILE),
)


@given(URIS)
@example("http://①②⑦.⓪.⓪.①/")
@example("http://127.0.0.1\\@cdn.example/")
@example("http://cdn.example\\@127.0.0.1/")
@example("http://[::ffff:127.0.0.1]/")
def test_whatever_is_asked_for_is_refused_or_allowed(uri: str) -> None:
    try:
        place = place_of(uri, POLICY)
    except ImageRefused:
        return
    if isinstance(place, FilePlace):
        assert place.path.is_absolute()
    if isinstance(place, ObjectPlace):
        assert place.bucket == "shop-pictures"
    if isinstance(place, WebPlace):
        check_web(place)


@given(HOSTILE | URIS)
def test_redirects_lead_to_the_web_only_and_never_from_https_to_http(location: str) -> None:
    start = place_of("https://cdn.example/a/b.jpg", POLICY)
    assert isinstance(start, WebPlace)
    try:
        place = redirected(start, location, POLICY)
    except ImageRefused:
        return
    assert place.url.scheme == "https"
    check_web(place)


def check_web(place: WebPlace) -> None:
    """Its host is a name, or a public address in the one form that no reader takes for another."""
    assert place.url.scheme in ("http", "https")
    assert place.host == URL(str(place.url), encoded=True).raw_host, "what is connected to is what was checked"
    assert place.url.raw_user is None
    assert str(place.url).isascii()
    assert str(place.url).isprintable()
    try:
        packed = socket.inet_aton(place.host.rstrip("."))
    except OSError:
        packed = None
    if packed is not None:
        assert place.host == str(ipaddress.IPv4Address(packed))
        assert is_harmless(ipaddress.IPv4Address(packed))
    if ":" in place.host:
        assert is_harmless(ipaddress.IPv6Address(place.host))
