"""Files that try to break a decoder, each made when a test asks for it. Nothing of this lies in the repository."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image, PngImagePlugin

from tests import videos

Make = Callable[[], bytes]
HUGE = 60_000


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 120, height: int = 80) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), (220, 20, 20))
    image.paste((20, 20, 220), (width // 2, 0, width, height))
    return image


# --- PNG ----------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *between: bytes, rows: bytes = b"\0" * 1000) -> bytes:
    """A PNG that says it has this size, with these chunks before its rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + end


def _zeros(count: int) -> bytes:
    return zlib.compress(b"\0" * count, 9)


# --- WebP, GIF, TIFF, BMP, JPEG, AVIF -----------------------------------------------------------------------------


def webp(kind: bytes, payload: bytes) -> bytes:
    """A WebP with one chunk."""
    body = b"WEBP" + kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated_webp(side: int) -> bytes:
    """An animation on a canvas of this side, whose one frame is small."""
    size = (side - 1).to_bytes(3, "little")
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + size
    still = saved(picture(16, 16), "WEBP", lossless=True)[12:]
    frame = b"\0" * 6 + (15).to_bytes(3, "little") * 2 + b"\0" * 4 + still
    inside = canvas + b"ANIM" + struct.pack("<I", 6) + b"\0" * 6 + b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", 4 + len(inside)) + b"WEBP" + inside


def gif(canvas: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """A GIF whose only frame may be larger than its canvas."""
    head = b"GIF89a" + struct.pack("<HH", *canvas) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHH", 0, 0, *frame) + b"\0" + b"\x02\x02\x4c\x01\0" + b";"


def tiff(*tags: tuple[int, int, int, int], at: int = 8, following: int = 0) -> bytes:
    """A TIFF of one directory: (tag, type, count, value) each, and where the next directory is said to be."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", at) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def _tiff_of(width: int, height: int, *more: tuple[int, int, int, int], **how: int) -> bytes:
    size = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    return tiff(*size, *more, **how) + b"\0" * 512


def bmp(width: int, height: int) -> bytes:
    """A BMP that says it has this size and ends after its header."""
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header says it has this size."""
    raw = bytearray(saved(picture(), "JPEG"))
    at = raw.index(b"\xff\xc0") + 5
    raw[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(raw)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG that paints the same large picture again and again: little to read, long to decode."""
    raw = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True, quality=10)
    last = raw.rindex(b"\xff\xda")
    return raw[:last] + raw[last:-2] * scans + b"\xff\xd9"


def avif_of_size(side: int) -> bytes:
    """An AVIF whose container says it is larger than the picture within."""
    raw = bytearray(saved(picture(), "AVIF"))
    at = raw.index(b"ispe") + 8
    raw[at : at + 8] = struct.pack(">II", side, side)
    return bytes(raw)


# --- the corpus ---------------------------------------------------------------------------------------------------

NOT_PICTURES: dict[str, Make] = {
    "nothing": lambda: b"",
    "text": lambda: b"<html><script>alert(1)</script>",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%id)(r)file\n",
    "a playlist": lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "photoshop": lambda: b"8BPS\0\x01" + b"\0" * 100,
    "icon": lambda: saved(picture(32, 32), "ICO"),
    "jpeg 2000": lambda: saved(picture(), "JPEG2000"),
    "only a header": lambda: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "one pixel": lambda: saved(Image.new("RGB", (1, 1)), "PNG"),
    "gif of no size": lambda: b"GIF89a\x00\x00\x00\x00\x00\x00\x00\x00;",
    "gif without a frame": lambda: b"GIF89a" + struct.pack("<HH", 100, 100) + b"\0\0\0;",
    "tiff whose directory is itself": lambda: _tiff_of(100, 100, following=8),
    "tiff whose directory is beyond its end": lambda: _tiff_of(100, 100, at=2**31),
    "tiff of a thousand million strips": lambda: _tiff_of(100, 100, (273, 4, 2**30, 64), (279, 4, 2**30, 64)),
    "tiff of a strip of 4 GB": lambda: _tiff_of(100, 100, (273, 4, 1, 64), (279, 4, 1, 2**32 - 1), (259, 3, 1, 5)),
    "png with a text bomb": lambda: png(100, 100, chunk(b"zTXt", b"a\0\0" + _zeros(100_000_000))),
    "png with many text bombs": lambda: png(100, 100, *[chunk(b"zTXt", b"a\0\0" + _zeros(1_000_000))] * 100),
    "png with a profile bomb": lambda: png(100, 100, chunk(b"iCCP", b"a\0\0" + _zeros(100_000_000))),
    "png without its rows": lambda: png(4_000, 4_000),
    "bmp without its rows": lambda: bmp(5_000, 5_000),
}
"""Refused as ``undecodable-image``."""

TRUNCATED: dict[str, Make] = {
    kind.lower(): lambda kind=kind, keep=keep: _cut(kind, keep)  # type: ignore[misc]
    for kind, keep in {"JPEG": 0.5, "PNG": 0.8, "WEBP": 0.5, "GIF": 0.5, "TIFF": 0.5, "BMP": 0.5, "AVIF": 0.7}.items()
}
"""The first part of good pictures; refused as ``undecodable-image``."""


def _cut(kind: str, keep: float) -> bytes:
    raw = saved(Image.fromarray(videos.scene(1, 400, 400)), kind)
    return raw[: int(len(raw) * keep)]


TOO_LARGE: dict[str, Make] = {
    "png": lambda: png(HUGE, HUGE),
    "png below Pillow's own limit": lambda: png(9_000, 9_000),
    "jpeg": lambda: jpeg_of_size(65_500, 65_500),
    "gif": lambda: gif((65_535, 65_535), (10, 10)),
    "gif of a frame beyond its canvas": lambda: gif((10, 10), (65_535, 65_535)),
    "tiff": lambda: _tiff_of(HUGE, HUGE, (273, 4, 1, 200), (279, 4, 1, 200)),
    "bmp": lambda: bmp(40_000, 40_000),
    "webp": lambda: webp(b"VP8L", b"\x2f" + (0x3FFF | 0x3FFF << 14).to_bytes(4, "little") + b"\0" * 40),
    "webp animation": lambda: animated_webp(16_383),
    "avif": lambda: avif_of_size(16_000),
}
"""Files of a few bytes that say they have many pixels; refused as ``image-too-large`` before these are there."""


def polyglots() -> Iterator[tuple[str, bytes]]:
    """Good pictures that are something else too."""
    jpeg = saved(picture(), "JPEG")
    yield "jpeg and zip", jpeg + b"PK\x03\x04" + b"\0" * 26 + b"PK\x05\x06" + b"\0" * 18
    yield "jpeg and a script in its comment", saved(picture(), "JPEG", comment=b"<script>alert(1)</script>")
    yield "jpeg and php behind it", jpeg + b"<?php system('id') ?>"
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", "<html><script>alert(1)</script></html>")
    yield "png and html", saved(picture(), "PNG", pnginfo=note)
    yield "gif and javascript", saved(picture(), "GIF", comment=b"*/=1;alert(1)//")
    yield "webp and html in its metadata", saved(picture(), "WEBP", xmp=b"<script>alert(1)</script>")


# --- videos -------------------------------------------------------------------------------------------------------


def video_of_size(side: int) -> bytes:
    """A video whose frames say they are this large."""
    raw = bytearray(videos.video(videos.scenes([1], each=3), "avi"))
    at = raw.find(b"\xff\xc0")
    while at >= 0:
        raw[at + 5 : at + 9] = struct.pack(">HH", side, side)
        at = raw.find(b"\xff\xc0", at + 9)
    return bytes(raw)


def _with_reference(url: bytes) -> bytes:
    """An MP4 whose data are said to lie elsewhere."""
    raw = videos.video(videos.scenes([1], each=3))
    own = raw.index(b"url ") - 4
    other = struct.pack(">I", 12 + len(url) + 1) + b"url " + b"\0\0\0\0" + url + b"\0"
    grown = bytearray(raw[:own] + other + raw[own + 12 :])
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = grown.index(name) - 4
        grown[at : at + 4] = struct.pack(">I", struct.unpack(">I", grown[at : at + 4])[0] + len(other) - 12)
    return bytes(grown)


NOT_VIDEOS: dict[str, Make] = {
    "nothing": lambda: b"",
    "a picture": lambda: saved(picture(), "JPEG"),
    "hls": lambda: b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nconcat:file:///etc/passwd|subfile,,start,0:\n",
    "concat script": lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "dash": lambda: b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>',
    "image sequence": lambda: b"/etc/%03d.jpg",
    "subtitles with a reference": lambda: b"WEBVTT\n\n00:00.000 --> 00:01.000\nfile:///etc/passwd\n",
    "mp4 without a picture": videos.sound,
    "mp4 without an index": lambda: videos.video(videos.scenes([1], each=3))[:900],
    "mp4 of boxes without end": lambda: b"\0\0\0\x18ftypisom" + b"\0" * 12 + b"\0\0\0\x08moov" * 10_000,
    "webm of lengths without end": lambda: b"\x1aE\xdf\xa3" + b"\x01" + b"\xff" * 4_000,
}
"""Refused as ``undecodable-video``."""

VIDEOS_ELSEWHERE: dict[str, Make] = {
    name: lambda url=url: _with_reference(url)  # type: ignore[misc]
    for name, url in {"file": b"file:///etc/passwd", "http": b"http://127.0.0.1:1/", "subfile": b"subfile,,:x"}.items()
}
"""Their data are said to lie elsewhere. Whatever becomes of them, nothing else is opened."""
