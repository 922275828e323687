"""Pictures of every kind and hostile bytes: decoded right, or refused with a code."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from processors.decode import THUMBNAIL_SIZES, Crop, DecodeLimits, decode
from processors.encoder import PictureForm
from schemas.errors import ImageTooLarge, InvalidRecord, UndecodableImage

FORM = PictureForm(32)
RED, BLUE = (220, 20, 20), (20, 20, 220)


def scene(width: int = 120, height: int = 80) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def left_and_right(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = pixels.shape[0] // 2
    return pixels[middle, 4].astype(int), pixels[middle, -5].astype(int)


def assert_red_then_blue(pixels: np.ndarray) -> None:
    left, right = left_and_right(pixels)
    assert left[0] > 150, left
    assert left[2] < 90, left
    assert right[2] > 150, right
    assert right[0] < 90, right


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_every_kind_gives_the_same_picture(kind: str) -> None:
    decoded = decode(saved(scene(), kind), FORM)
    assert decoded.pixels.shape == (32, 32, 3)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height) == (120, 80)
    assert len(decoded.phash) == 8
    assert_red_then_blue(decoded.pixels)


def test_cmyk() -> None:
    assert_red_then_blue(decode(saved(scene().convert("CMYK"), "JPEG"), FORM).pixels)


def test_palette_with_a_transparent_colour_lies_on_white() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 0, 220, 20, 20])
    image.paste(1, (0, 0, 20, 40))
    left, right = left_and_right(decode(saved(image, "PNG", transparency=0), FORM).pixels)
    assert left[0] > 200
    assert right.min() > 240


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_lies_on_white(mode: str) -> None:
    image = Image.new(mode, (40, 40), (0,) * len(mode))
    assert decode(saved(image, "PNG"), FORM).pixels.min() > 250


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_brightness(kind: str) -> None:
    values = np.full((40, 40), 32768, dtype=np.uint16)
    values[:, 20:] = 65535
    left, right = left_and_right(decode(saved(Image.fromarray(values), kind), FORM).pixels)
    assert abs(left[0] - 128) < 4
    assert right[0] > 250


def test_exif_orientation_turns_it_upright() -> None:
    upright = scene(120, 80)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees to the left
    turned = saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)
    decoded = decode(turned, FORM)
    assert (decoded.width, decoded.height) == (120, 80)
    assert_red_then_blue(decoded.pixels)


def test_a_colour_profile_is_brought_to_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    decoded = decode(saved(scene(), "PNG", icc_profile=profile), FORM)  # of another colour space: left alone
    assert_red_then_blue(decoded.pixels)
    broken = decode(saved(scene(), "PNG", icc_profile=b"no profile"), FORM)
    assert_red_then_blue(broken.pixels)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    raw = saved(scene(), kind, save_all=True, append_images=[Image.new("RGB", (120, 80), "green")], duration=50)
    assert_red_then_blue(decode(raw, FORM).pixels)


def test_thumbnails_are_jpegs_and_never_enlarged() -> None:
    decoded = decode(saved(scene(300, 150), "PNG"), FORM, thumbnail_sizes=THUMBNAIL_SIZES)
    sizes = {size: Image.open(io.BytesIO(raw)).size for size, raw in decoded.thumbnails.items()}
    assert sizes == {96: (96, 48), 256: (256, 128), 512: (300, 150)}


def test_a_crop_is_of_the_upright_picture() -> None:
    left = decode(saved(scene(), "PNG"), FORM, crop=Crop(0, 0, 0.5, 1)).pixels
    assert np.ptp(left.reshape(-1, 3), axis=0).max() < 10
    with pytest.raises(UndecodableImage):
        decode(saved(scene(), "PNG"), FORM, crop=Crop(0.5, 0.5, 0.001, 0.5))


def test_big_jpegs_are_decoded_at_a_fraction_and_look_the_same() -> None:
    whole = scene(3000, 2000)
    drafted, exact = decode(saved(whole, "JPEG"), FORM), decode(saved(whole, "PNG"), FORM)
    assert (drafted.width, drafted.height) == (3000, 2000)
    assert np.abs(drafted.pixels.astype(int) - exact.pixels.astype(int)).mean() < 3


@pytest.mark.parametrize(
    ("form", "corner"),
    [(PictureForm(32, "longest", fill=7), 7), (PictureForm(32, "squash"), 220), (PictureForm(32, "shortest"), 220)],
)
def test_forms(form: PictureForm, corner: int) -> None:
    pixels = decode(saved(scene(), "PNG"), form).pixels
    assert pixels.shape == (32, 32, 3)
    assert pixels[0, 0, 0] == corner
    assert_red_then_blue(pixels)


def test_equal_looks_have_an_equal_hash_and_others_have_not() -> None:
    rng = np.random.default_rng(0)
    noisy = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((200, 200), 3)
    assert decode(saved(noisy, "PNG"), FORM).phash == decode(saved(noisy, "JPEG", quality=95), FORM).phash
    assert decode(saved(noisy, "PNG"), FORM).phash != decode(saved(scene(), "PNG"), FORM).phash


def test_quality_flags() -> None:
    assert "blank" in decode(saved(Image.new("RGB", (100, 100), "grey"), "PNG"), FORM).quality.flags
    assert "dark" in decode(saved(Image.new("RGB", (100, 100), "black"), "PNG"), FORM).quality.flags
    assert "small" in decode(saved(scene(40, 40), "PNG"), FORM).quality.flags
    assert decode(saved(scene(), "PNG"), FORM).quality.flags == ()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it has 3.6 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


HOSTILE: dict[str, tuple[Callable[[], bytes], type[InvalidRecord]]] = {
    "nothing": (lambda: b"", UndecodableImage),
    "text": (lambda: b"<html><script>alert(1)</script>", UndecodableImage),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', UndecodableImage),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%id)(r)file\n", UndecodableImage),
    "bomb": (bomb, ImageTooLarge),
    "bomb below Pillow's own limit": (lambda: bomb(9_000, 9_000), ImageTooLarge),
    "truncated jpeg": (lambda: saved(scene(400, 400), "JPEG")[:2000], UndecodableImage),
    "truncated png": (lambda: saved(scene(400, 400), "PNG")[:-60], UndecodableImage),
    "truncated webp": (lambda: saved(scene(400, 400), "WEBP")[:60], UndecodableImage),
    "only a header": (lambda: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", UndecodableImage),
    "gif of no size": (lambda: b"GIF89a\x00\x00\x00\x00\x00\x00\x00;", UndecodableImage),
    "one pixel": (lambda: saved(Image.new("RGB", (1, 1)), "PNG"), UndecodableImage),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_with_a_code(name: str) -> None:
    make, expected = HOSTILE[name]
    with pytest.raises(expected) as refused:
        decode(make(), FORM)
    assert refused.value.code in ("undecodable-image", "image-too-large")


def test_a_picture_that_is_also_something_else_is_read_as_the_picture() -> None:
    polyglot = saved(scene(), "JPEG") + b"PK\x03\x04 and a zip file, or a script: <?php system('id') ?>"
    assert_red_then_blue(decode(polyglot, FORM).pixels)


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(ImageTooLarge):
        decode(saved(scene(), "PNG"), FORM, DecodeLimits(image_bytes_max=10))


def test_mutated_pictures_raise_nothing_but_our_errors() -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        raw = saved(scene(), kind)
        for _ in range(25):
            broken = bytearray(raw)
            for place in rng.integers(0, len(raw), 4):
                broken[place] = rng.integers(0, 256)
            with contextlib.suppress(UndecodableImage, ImageTooLarge):  # anything else fails the test
                assert decode(bytes(broken), FORM).pixels.shape == (32, 32, 3)
