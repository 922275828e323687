"""Fetching over real sockets: limits, redirects, hosts that misbehave, and addresses that are refused in the end."""

import asyncio
import ipaddress
import os
import socket
import ssl
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tenacity import wait_fixed
from yarl import URL

from processors.encoders.encoder import PictureForm
from processors.fetching.policy import Fetched, FetchPolicy, NoRoom, Validators, WebPlace, check_below_roots
from processors.pictures.decode import decode
from schemas.errors import ImageRefused, ImageSourceUnavailable, ImageTooLarge, UndecodableImage
from schemas.hashing import content_hash
from schemas.metrics import RecordingMetrics
from streams.fetching import files as fetch_files
from streams.fetching.fetcher import PictureFetcher
from streams.fetching.hosts import FAILURES_MAX
from streams.fetching.web import ATTEMPTS_MAX, Wanted, WebPictures
from tests.integration.image_host import BOMB_BYTES, HTML, PICTURE, ImageHost
from topics.store import FileStore, original_key

OPEN = FetchPolicy(private_allowed=True, image_bytes_max=1000, redirects_max=2)
STRICT = replace(OPEN, private_allowed=False)
Look = Callable[..., list[Any]]


@pytest.fixture
async def host() -> AsyncIterator[ImageHost]:
    async with ImageHost().running() as host:
        yield host


@asynccontextmanager
async def fetching(
    tmp_path: Path, policy: FetchPolicy = OPEN, metrics: RecordingMetrics | None = None
) -> AsyncIterator[PictureFetcher]:
    fetcher = PictureFetcher(policy, FileStore(tmp_path / "store"), metrics or RecordingMetrics())
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def fetched(
    tmp_path: Path, uri: str, policy: FetchPolicy = OPEN, timeout_s: float = 20.0, known: Validators | None = None
) -> Fetched:
    async with fetching(tmp_path, policy) as fetcher:
        return await fetcher.fetch(uri, timeout_s=timeout_s, known=known)


async def unavailable(fetcher: PictureFetcher, uri: str, timeout_s: float = 20.0) -> ImageSourceUnavailable:
    with pytest.raises(ImageSourceUnavailable) as raised:
        await fetcher.fetch(uri, timeout_s=timeout_s)
    return raised.value


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, ...] | OSError) -> Counter[str]:
    """From now on each look-up of a name gets the next answer, the last one for ever; counts look-ups."""
    looked_up: Counter[str] = Counter()
    left = list(answers)

    def look_up(name: str, port: int, *_: Any, **__: Any) -> list[Any]:
        looked_up[name] += 1
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, OSError):
            raise answer
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in answer
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked_up


# --- what is fetched ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["picture", "there", "zipped"])
async def test_the_web(host: ImageHost, tmp_path: Path, kind: str) -> None:
    answer = await fetched(tmp_path, host.url(kind))
    assert answer.raw == PICTURE
    assert answer.validators.content_hash == content_hash(PICTURE)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("absent", ImageSourceUnavailable),
        ("unknown_packing", ImageSourceUnavailable),
        ("large", ImageTooLarge),
        ("announced", ImageTooLarge),
        ("loop", ImageRefused),
    ],
)
async def test_what_the_web_is_refused_for(host: ImageHost, tmp_path: Path, kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await fetched(tmp_path, host.url(kind))


async def test_a_page_that_says_it_is_a_picture_is_no_picture(host: ImageHost, tmp_path: Path) -> None:
    answer = await fetched(tmp_path, host.url("html"))
    assert answer.raw == HTML
    with pytest.raises(UndecodableImage):
        decode(answer.raw, PictureForm(32))


async def test_a_compressed_bomb_costs_no_memory(host: ImageHost, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        async with fetching(tmp_path, replace(OPEN, image_bytes_max=1_000_000)) as fetcher:
            with pytest.raises(ImageTooLarge):
                await fetcher.fetch(host.url("bomb"), timeout_s=20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < BOMB_BYTES / 4


async def test_a_refusal_keeps_nothing_of_what_arrived(host: ImageHost, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        async with fetching(tmp_path, replace(OPEN, image_bytes_max=BOMB_BYTES // 8)) as fetcher:
            bombs = (fetcher.fetch(host.url("bomb"), timeout_s=20) for _ in range(4))
            errors = [(await asyncio.gather(bomb, return_exceptions=True))[0] for bomb in bombs]
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert {type(error) for error in errors} == {ImageTooLarge}
    assert kept < BOMB_BYTES / 8


@pytest.mark.parametrize(("kind", "needed"), [("picture", len(PICTURE)), ("zipped", OPEN.image_bytes_max)])
async def test_no_more_arrives_than_there_is_room_for(host: ImageHost, tmp_path: Path, kind: str, needed: int) -> None:
    async with fetching(tmp_path) as fetcher:
        for _ in range(FAILURES_MAX + 1):
            with pytest.raises(NoRoom) as raised:
                await fetcher.fetch(host.url(kind), timeout_s=20, has_room=lambda size: size < len(PICTURE))
            assert raised.value.size == needed
        assert (await fetcher.fetch(host.url("picture"), timeout_s=20)).raw == PICTURE, "its host is not down"


async def test_connections_are_used_again(host: ImageHost, tmp_path: Path) -> None:
    async with fetching(tmp_path) as fetcher:
        for _ in range(5):
            await fetcher.fetch(host.url("picture"), timeout_s=20)
    assert len(host.connections) == 1


async def test_a_proxy_of_the_environment_is_ignored(
    host: ImageHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert (await fetched(tmp_path, host.url("picture"))).raw == PICTURE


async def test_nothing_of_ours_is_sent_along(host: ImageHost, tmp_path: Path) -> None:
    host.extra = {"Set-Cookie": "a=b"}
    async with fetching(tmp_path) as fetcher:
        await fetcher.fetch(host.url("said"), timeout_s=20)
        await fetcher.fetch(host.url("there"), timeout_s=20)
    for headers in host.headers:
        assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


async def test_what_is_counted(host: ImageHost, tmp_path: Path) -> None:
    metrics = RecordingMetrics()
    async with fetching(tmp_path, metrics=metrics) as fetcher:
        first = await fetcher.fetch(host.url("picture"), timeout_s=20)
        await fetcher.fetch(host.url("picture"), timeout_s=20, known=first.validators)
        await unavailable(fetcher, host.url("absent"))
        for uri in (host.url("large"), "ftp://cdn.example/"):
            with pytest.raises((ImageTooLarge, ImageRefused)):
                await fetcher.fetch(uri, timeout_s=20)
    counts = {key[1]: value for key, value in metrics.values.items() if key[0] == "freshlens_fetches_total"}
    assert {(dict(labels)["scheme"], dict(labels)["result"]): value for labels, value in counts.items()} == {
        ("http", "fetched"): 1,
        ("http", "not-modified"): 1,
        ("http", "http-404"): 1,
        ("http", "image-too-large"): 1,
        ("none", "image-refused"): 1,
    }
    assert metrics.values["freshlens_fetched_bytes_total", (("scheme", "http"),)] == len(PICTURE)
    assert metrics.values["freshlens_fetch_seconds", (("scheme", "http"),)] > 0


# --- what did not change ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("etag", "modified"), [('W/"1"', None), (None, "Thu, 01 Jan 2026 00:00:00 GMT")])
async def test_an_unchanged_picture_is_not_sent_again(
    host: ImageHost, tmp_path: Path, etag: str | None, modified: str | None
) -> None:
    host.etag, host.modified = etag, modified
    first = await fetched(tmp_path, host.url("picture"))
    again = await fetched(tmp_path, host.url("picture"), known=first.validators)
    assert again == Fetched(None, first.validators)
    host.etag, host.modified, host.picture = '"2"', None, b"another"
    changed = await fetched(tmp_path, host.url("picture"), known=first.validators)
    assert changed.raw == b"another"
    assert changed.validators != first.validators


async def test_an_etag_means_nothing_at_another_address(host: ImageHost, tmp_path: Path) -> None:
    first = await fetched(tmp_path, host.url("there"))
    assert (await fetched(tmp_path, host.url("there"), known=first.validators)).raw is None
    host.location, host.picture = "/picture?another", b"another"
    assert (await fetched(tmp_path, host.url("there"), known=first.validators)).raw == b"another"


async def test_not_modified_is_no_answer_to_those_who_know_nothing(host: ImageHost, tmp_path: Path) -> None:
    host.status = 304
    async with fetching(tmp_path) as fetcher:
        assert (await unavailable(fetcher, host.url("said"))).why == "http-304"


# --- time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hang", "drip"])
async def test_a_host_has_only_so_much_time(host: ImageHost, tmp_path: Path, kind: str) -> None:
    async with fetching(tmp_path, replace(OPEN, image_bytes_max=10**9)) as fetcher:
        assert (await unavailable(fetcher, host.url(kind), 1.0)).why == "timeout"
    assert host.asked[kind] == 1, "what takes too long is not tried again at once"


async def test_redirects_have_no_time_of_their_own(host: ImageHost, tmp_path: Path) -> None:
    async with fetching(tmp_path, replace(OPEN, redirects_max=10**9)) as fetcher:
        await unavailable(fetcher, host.url("loop"), 0.3)


async def test_a_slow_host_holds_up_only_its_own(host: ImageHost, tmp_path: Path) -> None:
    async with ImageHost().running() as slow, fetching(tmp_path, replace(OPEN, per_host_max=4)) as fetcher:
        waiting = [asyncio.create_task(unavailable(fetcher, slow.url("hang"))) for _ in range(200)]
        while slow.at_once < 4:
            await asyncio.sleep(0)
        answers = [await fetcher.fetch(host.url("picture"), timeout_s=20) for _ in range(20)]
        assert {answer.raw for answer in answers} == {PICTURE}
        assert slow.at_once_max == 4
        assert sum(not task.done() for task in waiting) >= 4, "its own wait still"
        slow.over.set()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_thousand_pictures_of_a_dead_host_are_not_a_thousand_connections(tmp_path: Path) -> None:
    connections = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    uri, metrics = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.jpg", RecordingMetrics()
    async with server, fetching(tmp_path, replace(OPEN, per_host_max=4), metrics) as fetcher:
        errors = await asyncio.gather(*(unavailable(fetcher, uri) for _ in range(1000)))
    # Those that found it down, and those that had their turn meanwhile; aiohttp itself asks once more each time.
    assert connections <= 2 * (FAILURES_MAX + 4)
    whys = Counter(error.why for error in errors)
    assert whys["host-down"] + whys["host-busy"] >= 1000 - 2 * 4
    assert whys["host-down"]
    assert all(error.retry_after_s > 0 for error in errors if error.why == "host-down")
    assert metrics.values["freshlens_fetch_hosts_down_total", ()] == 1


async def test_a_name_that_does_not_exist_is_not_looked_up_for_each_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = resolving(monkeypatch, socket.gaierror(socket.EAI_NONAME, "no such name"))
    async with fetching(tmp_path) as fetcher:
        whys = Counter([(await unavailable(fetcher, "http://gone.example/a.jpg")).why for _ in range(100)])
    assert whys == {"no-such-host": FAILURES_MAX, "host-down": 100 - FAILURES_MAX}
    assert looked_up["gone.example"] == FAILURES_MAX


# --- trying again -------------------------------------------------------------------------------------------


async def test_what_passes_is_tried_again_at_once(host: ImageHost, tmp_path: Path) -> None:
    assert (await fetched(tmp_path, host.url("flaky"))).raw == PICTURE
    assert host.asked["flaky"] == 3


async def test_a_name_server_that_is_busy_is_asked_again_at_once(
    host: ImageHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = resolving(monkeypatch, socket.gaierror(socket.EAI_AGAIN, "try again"), ("127.0.0.1",))
    assert (await fetched(tmp_path, host.url("picture", "cdn.example"))).raw == PICTURE
    assert looked_up["cdn.example"] == 2


def certificate(folder: Path, *, name: str, days: int) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that it signed itself, for ``days`` from yesterday."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) - timedelta(days=1)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = made.add_extension(names, critical=False).sign(key, SHA256())
    file = folder / f"{name}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(secret + signed.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize("days", [30, 0], ids=["signed by itself", "over"])
async def test_a_bad_certificate_is_refused_and_nothing_is_asked(tmp_path: Path, days: int) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)

    asked: list[asyncio.StreamWriter] = []
    tls = certificate(tmp_path, name="shop.example", days=days)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    uri = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/picture"
    async with server, fetching(tmp_path) as fetcher:
        assert (await unavailable(fetcher, uri)).why == "certificate"
    assert not asked, "no request was sent"


async def test_an_address_that_swallows_connections_costs_no_more_than_the_deadline(tmp_path: Path) -> None:
    with socket.socket() as silent, ExitStack() as open_sockets:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(4):  # its queue is full: from here on nobody is answered, as behind a firewall that drops
            filling = open_sockets.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(silent.getsockname())
        async with fetching(tmp_path) as fetcher:
            error = await unavailable(fetcher, f"http://127.0.0.1:{silent.getsockname()[1]}/picture", 0.5)
    assert error.why == "timeout"
    assert error.code == ImageSourceUnavailable.code


async def test_a_host_that_cannot_prove_who_it_is_is_not_asked(host: ImageHost, tmp_path: Path) -> None:
    async with fetching(tmp_path) as fetcher:
        error = await unavailable(fetcher, host.url("picture").replace("http://", "https://"))
    assert error.why == "certificate"
    assert not host.asked["picture"]


@pytest.mark.parametrize(
    ("status", "extra", "asked", "retry_after_s"),
    [
        (500, {}, ATTEMPTS_MAX, 0),
        (503, {}, ATTEMPTS_MAX, 0),
        (503, {"Retry-After": "7"}, 1, 7),
        (429, {"Retry-After": "7"}, 1, 7),
        (429, {}, 1, 0),
        (403, {}, 1, 0),
        (404, {"Retry-After": "7"}, 1, 7),
        (410, {}, 1, 0),
        (204, {}, 1, 0),
        (206, {}, 1, 0),
        (300, {"Location": "/picture"}, 1, 0),
        (302, {}, 1, 0),
    ],
)
async def test_only_what_is_worth_it_is_tried_again(
    host: ImageHost, tmp_path: Path, status: int, extra: dict[str, str], asked: int, retry_after_s: float
) -> None:
    host.status, host.extra = status, extra
    async with fetching(tmp_path) as fetcher:
        error = await unavailable(fetcher, host.url("said"))
    assert (error.why, error.retry_after_s) == (f"http-{status}", retry_after_s)
    assert host.asked["said"] == asked


async def test_a_host_that_asks_for_rest_is_left_alone(host: ImageHost, tmp_path: Path) -> None:
    host.status, host.extra = 503, {"Retry-After": "40"}
    async with fetching(tmp_path) as fetcher:
        await unavailable(fetcher, host.url("said"))
        error = await unavailable(fetcher, host.url("picture"))
    assert error.why == "host-down"
    assert 0 < error.retry_after_s <= 40
    assert not host.asked["picture"]


async def test_broken_pictures_do_not_make_a_host_down(host: ImageHost, tmp_path: Path) -> None:
    async with fetching(tmp_path) as fetcher:
        for _ in range(3):
            assert (await unavailable(fetcher, host.url("cut"))).why == "broken-off"
            assert (await unavailable(fetcher, host.url("absent"))).why == "http-404"
            with pytest.raises(ImageTooLarge):
                await fetcher.fetch(host.url("large"), timeout_s=20)
        assert (await fetcher.fetch(host.url("picture"), timeout_s=20)).raw == PICTURE


async def test_nothing_is_tried_again_beyond_the_deadline(
    host: ImageHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.fetching.web.wait_random_exponential", lambda **_: wait_fixed(100))
    host.status = 503
    async with fetching(tmp_path) as fetcher:
        assert (await unavailable(fetcher, host.url("said"))).why == "http-503", "not that time ran out"
    assert host.asked["said"] == 1


# --- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "①②⑦.⓪.⓪.①"]
)
async def test_names_and_odd_forms_that_lead_to_private_addresses_are_refused(
    host: ImageHost, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ImageRefused):
        await fetched(tmp_path, host.url("picture", name), STRICT)
    assert not host.connections


@pytest.mark.parametrize(
    "addresses",
    [
        ("93.184.216.34", "127.0.0.1"),
        ("127.0.0.1", "93.184.216.34"),
        ("::1",),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::7f00:1",),
        ("2002:7f00:1::",),
        ("fe80::1%lo",),
        ("169.254.169.254",),
        ("fd00:ec2::254",),
    ],
)
async def test_a_name_with_one_private_address_is_refused(
    host: ImageHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    resolving(monkeypatch, addresses)
    with pytest.raises(ImageRefused):
        await fetched(tmp_path, host.url("picture", "rebinding.example"), STRICT)
    assert not host.connections


LOOPBACK_2 = replace(STRICT, networks=(ipaddress.ip_network("127.0.0.2/32"),))


async def test_a_connection_goes_to_the_address_that_was_checked_and_to_no_later_one(
    host: ImageHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = resolving(monkeypatch, ("127.0.0.2",), ("127.0.0.1",))
    uri = host.url("picture", "rebinding.example")
    assert (await fetched(tmp_path, uri, LOOPBACK_2)).raw == PICTURE
    assert looked_up["rebinding.example"] == 1
    with pytest.raises(ImageRefused):
        await fetched(tmp_path, uri, LOOPBACK_2)


@pytest.mark.parametrize("target", ["127.0.0.1", "localhost", "2130706433", "[::1]"])
async def test_a_redirect_to_a_private_address_is_refused(host: ImageHost, tmp_path: Path, target: str) -> None:
    host.location = host.url("picture", "127.0.0.2")
    assert (await fetched(tmp_path, host.url("there", "127.0.0.2"), LOOPBACK_2)).raw == PICTURE
    host.location = host.url("picture", target)
    host.asked.clear()
    with pytest.raises(ImageRefused):
        await fetched(tmp_path, host.url("there", "127.0.0.2"), LOOPBACK_2)
    assert not host.asked["picture"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "s3://bucket/key", "http://", "//", "http://[", "\x00"])
async def test_redirects_that_lead_nowhere(host: ImageHost, tmp_path: Path, location: str) -> None:
    host.location = location.replace("\x00", "%00://")
    policy = replace(OPEN, roots=(Path("/etc"),), redirects_max=0)
    with pytest.raises((ImageRefused, ImageSourceUnavailable)):
        await fetched(tmp_path, host.url("there"), policy)


async def test_an_address_that_got_past_everything_else_gets_no_socket(host: ImageHost) -> None:
    web, deadline = WebPictures(STRICT, RecordingMetrics()), asyncio.get_running_loop().time() + 20
    try:
        with pytest.raises(ImageRefused):
            await web.answer(WebPlace(URL(host.url("picture"))), Wanted("x", None, 20, deadline))
    finally:
        await web.close()
    assert not host.connections


async def test_a_host_that_is_listed_is_reached_wherever_it_is(host: ImageHost, tmp_path: Path) -> None:
    policy = replace(STRICT, hosts=frozenset({"localhost"}))
    assert (await fetched(tmp_path, host.url("picture", "LocalHost"), policy)).raw == PICTURE
    host.location = host.url("picture", "127.0.0.1")
    with pytest.raises(ImageRefused):
        await fetched(tmp_path, host.url("there", "localhost"), policy)


# --- files and our own store --------------------------------------------------------------------------------


async def test_files_and_stored_originals(tmp_path: Path) -> None:
    roots, store = tmp_path / "roots", FileStore(tmp_path / "store")
    (roots / "deep").mkdir(parents=True)
    (roots / "deep" / "a b.jpg").write_bytes(b"a")
    (roots / "deep" / "inside.jpg").symlink_to("a b.jpg")
    (roots / os.fsdecode(b"\xff.jpg")).write_bytes(b"not utf-8")
    (roots / "big.jpg").write_bytes(b"x" * 1001)
    (roots / "link.jpg").symlink_to("/etc/hostname")
    (roots / "folder").symlink_to("/etc")
    (roots / "loop.jpg").symlink_to("loop.jpg")
    (roots / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(roots / "pipe.jpg")
    policy = replace(OPEN, roots=(roots.resolve(),))
    digest = content_hash(b"stored").hex()
    store.put(original_key(digest), b"stored")
    for uri, raw in (
        (f"file://{roots}/deep/a%20b.jpg", b"a"),
        (f"file://{roots}/deep/inside.jpg", b"a"),
        (f"file://localhost{roots}/deep/../%FF.jpg", b"not utf-8"),
        (f"store://originals/{digest}", b"stored"),
    ):
        assert (await fetched(tmp_path, uri, policy)).raw == raw
    for uri, error in (
        (f"file://{roots}/none.jpg", ImageSourceUnavailable),
        (f"file://{roots}/loop.jpg", ImageSourceUnavailable),
        (f"file://{roots}/{'a' * 300}", ImageSourceUnavailable),
        (f"file://{roots}/big.jpg", ImageTooLarge),
        (f"file://{roots}/link.jpg", ImageRefused),
        (f"file://{roots}/folder/hostname", ImageRefused),
        (f"file://{roots}/../store/{original_key(digest)}", ImageRefused),
        (f"file://{roots}/%2e%2e/store/{original_key(digest)}", ImageRefused),
        (f"file://{roots}", ImageRefused),
        (f"file://{roots}/deep", ImageRefused),
        (f"file://{roots}/pipe.jpg", ImageRefused),
        (f"file://{roots}/zero.jpg", ImageRefused),
        ("file:///dev/stdin", ImageRefused),
        (f"store://originals/{'0' * 32}", ImageSourceUnavailable),
    ):
        with pytest.raises(error):
            await fetched(tmp_path, uri, policy)


async def test_an_original_that_there_is_no_room_for_says_how_much_it_takes(tmp_path: Path) -> None:
    digest = content_hash(PICTURE).hex()
    FileStore(tmp_path / "store").put(original_key(digest), PICTURE)
    async with fetching(tmp_path) as fetcher:
        with pytest.raises(NoRoom) as raised:
            await fetcher.fetch(f"store://originals/{digest}", timeout_s=20, has_room=lambda size: size < len(PICTURE))
    assert raised.value.size == len(PICTURE)


async def test_special_files_below_a_root_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    policy = replace(OPEN, roots=(Path("/dev"),))
    for name in ("zero", "tty", "stdin"):
        with pytest.raises((ImageRefused, ImageSourceUnavailable)):
            await fetched(tmp_path, f"file:///dev/{name}", policy)


def test_a_link_that_is_put_there_after_the_check_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    for folder, content in ((root / "a", b"picture"), (secret, b"secret")):
        folder.mkdir(parents=True)
        (folder / "b.jpg").write_bytes(content)
    policy = replace(OPEN, roots=(root.resolve(),))

    def swap(real: Path, policy: FetchPolicy) -> Path:
        found = check_below_roots(real, policy)
        (root / "a").rename(root / "moved")
        (root / "a").symlink_to(secret)
        return found

    monkeypatch.setattr("streams.fetching.files.check_below_roots", swap)
    with pytest.raises(OSError, match="a"):
        fetch_files.read_file(root / "a" / "b.jpg", policy, None, 0)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path, policy = tmp_path / "a.jpg", replace(OPEN, roots=(tmp_path.resolve(),))
    path.write_bytes(b"one")
    changed_ns = path.stat().st_ctime_ns
    young = fetch_files.read_file(path, policy, None, changed_ns + 1)
    assert young.validators.etag is None, "it may change again without showing it"
    later_ns = changed_ns + 10**10
    first = fetch_files.read_file(path, policy, young.validators, later_ns)
    assert first.raw == b"one"
    assert fetch_files.read_file(path, policy, first.validators, later_ns) == Fetched(None, first.validators)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    again = fetch_files.read_file(path, policy, first.validators, later_ns + 10**10)
    assert again.raw == b"two", "size and time of modification are the same"


async def test_an_original_never_changes(tmp_path: Path) -> None:
    digest = content_hash(b"stored")
    known = Validators(digest)
    assert await fetched(tmp_path, f"store://originals/{digest.hex()}", known=known) == Fetched(None, known)
