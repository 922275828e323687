"""Pictures of every kind and hostile bytes: decoded right, or refused with a code."""

import contextlib
import io
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFilter

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import THUMBNAIL_SIZES, Crop, DecodeLimits, decode
from processors.pictures.gate_settings import FLAGS
from schemas.errors import ImageTooLarge, InvalidRecord, UndecodableImage
from tests import hostile

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


def corners() -> Image.Image:
    """Red, blue, green and white in the four corners: no two ways to turn it look alike."""
    image = Image.new("RGB", (120, 80), "white")
    for colour, place in (("red", (0, 0)), ("blue", (60, 0)), ("green", (0, 40))):
        image.paste(colour, (*place, place[0] + 60, place[1] + 40))
    return image


STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture lies in the file, by the orientation that says how to turn it upright."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    exif, turn = Image.Exif(), STORED[orientation]
    exif[0x0112] = orientation
    stored = corners() if turn is None else corners().transpose(turn)
    decoded = decode(saved(stored, kind, exif=exif), PictureForm(32, "squash"))
    assert (decoded.width, decoded.height) == (120, 80)
    expected = np.asarray(corners().resize((32, 32)), dtype=int)
    assert np.abs(decoded.pixels.astype(int) - expected).mean() < 12


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_data_cost_no_picture(exif: bytes) -> None:
    assert_red_then_blue(decode(saved(scene(), "JPEG", exif=exif), FORM).pixels)


def swapped_profile() -> bytes:
    """A colour profile in which red is blue and blue is red."""
    raw = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    raw = raw.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    return raw.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_colours_are_those_of_the_profile(mode: str) -> None:
    picture = scene().quantize(8) if mode == "P" else scene().convert(mode)
    left, right = left_and_right(decode(saved(picture, "PNG", icc_profile=swapped_profile()), FORM).pixels)
    assert left[2] > 150 > left[0]
    assert right[0] > 150 > right[2]


def test_a_lab_picture_is_brought_to_srgb() -> None:
    lab = ImageCms.profileToProfile(
        scene(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert_red_then_blue(decode(saved(lab, "TIFF"), FORM).pixels)


def test_dark_sixteen_bit_grey_stays_dark() -> None:
    values = np.full((40, 40), 200, dtype=np.uint16)
    assert decode(saved(Image.fromarray(values), "PNG"), FORM).pixels.max() == 0


def test_sixteen_bit_grey_with_a_transparent_colour() -> None:
    raw = saved(Image.fromarray(np.full((40, 40), 65535, dtype=np.uint16)), "PNG")
    place = raw.index(b"IDAT") - 4
    colour = hostile.chunk(b"tRNS", b"\0\7")
    assert decode(raw[:place] + colour + raw[place:], FORM).pixels.min() > 250


def test_a_ribbon_takes_no_memory_for_what_cannot_be_seen() -> None:
    ribbon = Image.new("L", (500_000, 8), 128)
    assert decode(saved(ribbon, "PNG"), PictureForm(224)).pixels.shape == (224, 224, 3)
    tall = Image.new("L", (8, 500_000), 128)
    assert decode(saved(tall, "PNG"), PictureForm(224)).pixels.shape == (224, 224, 3)


def test_the_whole_of_a_cropped_picture_has_its_hash_too() -> None:
    raw = saved(corners(), "PNG")
    whole, part = decode(raw, FORM), decode(raw, FORM, crop=Crop(0, 0, 0.5, 1))
    assert whole.phash == whole.whole_phash == part.whole_phash != part.phash


def test_the_flags_are_those_of_the_settings() -> None:
    images = [Image.new("RGB", (40, 40), "black"), Image.new("RGB", (100, 100), "white")]
    found = {flag for image in images for flag in decode(saved(image, "PNG"), FORM).quality.flags}
    assert found == set(FLAGS)


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


@pytest.mark.parametrize("size", [(300, 200), (1200, 900), (40, 60)])
def test_the_hash_is_that_of_imagehash(size: tuple[int, int]) -> None:
    coarse = Image.fromarray(np.random.default_rng(4).integers(0, 255, (9, 9, 3), dtype=np.uint8))
    picture = coarse.resize(size, Image.Resampling.BICUBIC)
    theirs = imagehash.phash(picture).hash.flatten()
    ours = np.unpackbits(np.frombuffer(decode(saved(picture, "PNG"), FORM).phash, np.uint8))
    assert (theirs != ours).sum() <= 4, "scaled down another way, a bit near the median may turn"


def test_every_blank_picture_has_the_same_hash() -> None:
    assert len({decode(saved(Image.new("L", (90, 70), grey), "PNG"), FORM).phash for grey in (1, 77, 128, 255)}) == 1


def test_hash_and_quality_do_not_depend_on_the_thumbnails_that_are_asked_for() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    raw = saved(Image.fromarray(noise).resize((800, 600), 3), "PNG")
    asked, not_asked = decode(raw, FORM, thumbnail_sizes=(96, 256)), decode(raw, FORM)
    assert (asked.phash, asked.quality) == (not_asked.phash, not_asked.quality)


def test_sharpness_is_of_pillows_edges() -> None:
    noise = np.random.default_rng(2).integers(0, 255, (80, 120), dtype=np.uint8)
    edges = np.asarray(Image.fromarray(noise).filter(ImageFilter.FIND_EDGES))[1:-1, 1:-1] / 255
    assert decode(saved(Image.fromarray(noise), "PNG"), FORM).quality.sharpness == pytest.approx(edges.var())


@pytest.mark.parametrize("form", [PictureForm(32, "longest"), PictureForm(32, "squash"), PictureForm(32, "shortest")])
@pytest.mark.parametrize("size", [(2400, 1000), (1000, 2400)])
def test_a_large_jpeg_looks_as_it_does_decoded_whole(form: PictureForm, size: tuple[int, int]) -> None:
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 255, (6, 9, 3), dtype=np.uint8)).resize(size, 3)
    quick, whole = decode(saved(picture, "JPEG", quality=95), form), decode(saved(picture, "PNG"), form)
    assert np.abs(quick.pixels.astype(int) - whole.pixels).mean() < 3
    assert (quick.width, quick.height) == size


def test_quality_flags() -> None:
    assert "blank" in decode(saved(Image.new("RGB", (100, 100), "grey"), "PNG"), FORM).quality.flags
    assert "dark" in decode(saved(Image.new("RGB", (100, 100), "black"), "PNG"), FORM).quality.flags
    assert "small" in decode(saved(scene(40, 40), "PNG"), FORM).quality.flags
    assert decode(saved(scene(), "PNG"), FORM).quality.flags == ()


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidRecord) as error:
        decode(raw, FORM)
    return error.value.code


@pytest.mark.parametrize("name", hostile.NOT_PICTURES)
def test_what_is_no_picture_is_refused(name: str) -> None:
    assert refused(hostile.NOT_PICTURES[name]()) == "undecodable-image"


@pytest.mark.parametrize("name", hostile.TRUNCATED)
def test_half_a_picture_is_refused(name: str) -> None:
    assert refused(hostile.TRUNCATED[name]()) == "undecodable-image"


@pytest.mark.parametrize("name", hostile.TOO_LARGE)
def test_a_bomb_is_refused(name: str) -> None:
    assert refused(hostile.TOO_LARGE[name]()) == "image-too-large"


@pytest.mark.parametrize(("name", "raw"), list(hostile.polyglots()))
def test_a_picture_that_is_also_something_else_is_the_picture_and_no_more(name: str, raw: bytes) -> None:
    decoded = decode(raw, FORM, thumbnail_sizes=THUMBNAIL_SIZES)
    assert_red_then_blue(decoded.pixels)
    for thumbnail in decoded.thumbnails.values():
        assert thumbnail.startswith(b"\xff\xd8")
        assert not any(word in thumbnail for word in (b"script", b"alert", b"PK", b"php")), name


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
