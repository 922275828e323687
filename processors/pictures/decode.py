"""From the bytes of a picture to pixels, numbers and thumbnails; hostile bytes cost an error, no more. No torch."""

import io
import math
import struct
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import cv2
import msgspec
import numpy as np
from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from processors.encoders.encoder import PictureForm, Pixels
from processors.pictures.colours import upright_srgb
from schemas.errors import ImageTooLarge, InvalidRecord, UndecodableImage

DECODE_VERSION = 3
"""Raise it whenever a change here alters pixels or hashes: it is a part of view hashes and cache keys."""
THUMBNAIL_SIZES = (96, 256, 512)
"""Longest side in pixels; smaller pictures are not enlarged."""
PHASH_BYTES = 8
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a child has one processor's time, and memory per thread
Image.init()  # all plug-ins: only some are there before a first picture asks for them
_FORMATS = tuple(kind for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF") if kind in Image.OPEN)
_JPEG_QUALITY = 82
_SEEN_SIDE = 256
"""Longest side of what hash and quality are taken from."""
_RIBBON = 16
"""A picture longer than this many times its width is a ribbon."""
_HASHED_SIDE = 32
"""The side of what a perceptual hash is taken from, in pixels."""
_WAVES = np.cos(np.pi / (2 * _HASHED_SIDE) * np.outer(np.arange(8), 2 * np.arange(_HASHED_SIDE) + 1))
_EDGES = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float32)
_INTERPOLATION = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class DecodeLimits(msgspec.Struct, frozen=True):
    """What is refused before any pixel is decoded. The side is that of the shortest."""

    image_bytes_max: int = 16 * 1024 * 1024
    pixels_max: int = 50_000_000
    side_min: int = 8


class Crop(msgspec.Struct, frozen=True):
    """A rectangle in parts of width and height, 0 to 1, after the picture was turned upright."""

    x: float
    y: float
    width: float
    height: float


class Quality(msgspec.Struct, frozen=True):
    """How usable a picture looks: ``brightness`` and ``contrast`` 0 to 1, ``sharpness`` from 0, ``flags`` in words."""

    brightness: float
    contrast: float
    sharpness: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture, checked.

    Attributes:
        pixels: (size, size, 3) uint8 in the encoder's form.
        width: of the upright picture (not of the crop), in pixels.
        height: of the upright picture.
        phash: 8 bytes; equal for pictures that look the same. Of the crop, where there is one.
        quality: numbers and flags.
        thumbnails: JPEG bytes by longest side, for the sizes that were asked for.
        whole_phash: of the whole picture, whatever the crop.
    """

    pixels: Pixels
    width: int
    height: int
    phash: bytes
    quality: Quality
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    whole_phash: bytes = b""


def decode(
    raw: bytes,
    form: PictureForm,
    limits: DecodeLimits = DecodeLimits(),  # noqa: B008  # frozen
    *,
    crop: Crop | None = None,
    thumbnail_sizes: Sequence[int] = (),
) -> Decoded:
    """Decode one picture: JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF, of several frames the first.

    It is turned upright (EXIF), brought to sRGB, and laid on white where it is transparent.

    Raises:
        UndecodableImage: not a picture of a known kind, truncated, or broken. Dead-letter it.
        ImageTooLarge: more bytes or pixels than the limits allow. Dead-letter it.
    """
    if len(raw) > limits.image_bytes_max:
        raise ImageTooLarge(f"the picture has {len(raw)} bytes, at most {limits.image_bytes_max} are allowed")
    try:
        with warnings.catch_warnings():
            # A warning about a picture says nothing to the one who reads the log; an error of ours does.
            warnings.simplefilter("ignore")
            return _decode(raw, form, limits, crop, thumbnail_sizes)
    except InvalidRecord:
        raise
    except MemoryError as error:
        raise ImageTooLarge("the picture does not fit into memory") from error
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise ImageTooLarge("the picture does not fit into memory") from error
        raise UndecodableImage(f"the picture is broken: {error}") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the picture has too many pixels: {error}") from error
    except UnidentifiedImageError:
        raise UndecodableImage(f"the bytes are no picture of a kind we read ({', '.join(_FORMATS)})") from None
    except (OSError, SyntaxError, ValueError, TypeError, struct.error, ArithmeticError, LookupError, EOFError) as error:
        raise UndecodableImage(f"the picture is broken: {type(error).__name__}: {error}") from error


def _decode(
    raw: bytes, form: PictureForm, limits: DecodeLimits, crop: Crop | None, thumbnail_sizes: Sequence[int]
) -> Decoded:
    _check_webp(raw, limits)
    with Image.open(io.BytesIO(raw), formats=_FORMATS) as opened:
        declared = check_size(*opened.size, limits)
        _draft(opened, form, crop, thumbnail_sizes)
        opened.load()
        upright = upright_srgb(opened)
    turned = declared if (upright.width >= upright.height) == (declared[0] >= declared[1]) else declared[::-1]
    return described(upright, turned, form, crop=crop, thumbnail_sizes=thumbnail_sizes)


def described(
    upright: Image.Image,
    size: tuple[int, int],
    form: PictureForm,
    *,
    crop: Crop | None = None,
    thumbnail_sizes: Sequence[int] = (),
) -> Decoded:
    """Pixels, numbers and thumbnails of a picture in mode RGB, which may be smaller than the ``size`` it came in."""
    shown = _cropped(upright, crop)
    scaled = _scaled(shown, {*thumbnail_sizes, _SEEN_SIDE})
    grey = _grey(scaled[_SEEN_SIDE])
    phash = perceptual_hash(grey)
    return Decoded(
        pixels=_formed(shown, form),
        width=size[0],
        height=size[1],
        phash=phash,
        quality=_quality(grey, min(size)),
        thumbnails=_thumbnails(scaled, thumbnail_sizes),
        whole_phash=phash if crop is None else perceptual_hash(_grey(_scaled(upright, {_SEEN_SIDE})[_SEEN_SIDE])),
    )


def check_size(width: int, height: int, limits: DecodeLimits) -> tuple[int, int]:
    """The size, if it is one we decode; raises ImageTooLarge, UndecodableImage."""
    if width * height > limits.pixels_max:
        raise ImageTooLarge(f"the picture has {width} x {height} pixels, at most {limits.pixels_max} are allowed")
    if min(width, height) < limits.side_min:
        raise UndecodableImage(f"the picture has {width} x {height} pixels: too small to show anything")
    return width, height


def _check_webp(raw: bytes, limits: DecodeLimits) -> None:
    """The size that a WebP says it has: its decoder takes memory for a whole canvas as soon as it is opened."""
    if raw[:4] != b"RIFF" or raw[8:12] != b"WEBP" or len(raw) < 30:
        return
    if raw[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(raw[at : at + 3], "little") for at in (24, 27))
    elif raw[12:16] == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(raw[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    check_size(width, height, limits)


def _draft(image: Image.Image, form: PictureForm, crop: Crop | None, thumbnail_sizes: Sequence[int]) -> None:
    """Let a JPEG decode at a fraction of its size (a fifth of the time) where that is still all that is needed.

    That is twice the form on the shorter side, and the largest thumbnail on the longer.
    """
    share = max(min(crop.width, crop.height) if crop else 1.0, 1e-3)
    longest = max(*thumbnail_sizes, _SEEN_SIDE, 2 * form.size * max(image.size) / min(image.size))
    scale = min(1.0, longest / share / max(image.size))
    image.draft("RGB", (math.ceil(scale * image.width), math.ceil(scale * image.height)))


def _cropped(image: Image.Image, crop: Crop | None) -> Image.Image:
    if crop is None:
        return image
    left, top = round(crop.x * image.width), round(crop.y * image.height)
    right, bottom = round((crop.x + crop.width) * image.width), round((crop.y + crop.height) * image.height)
    box = (max(0, left), max(0, top), min(image.width, right), min(image.height, bottom))
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        raise UndecodableImage("the crop leaves nothing of the picture")
    return image.crop(box)


def _formed(image: Image.Image, form: PictureForm) -> Pixels:
    """As open_clip's own transform for inference does it, up to its normalisation."""
    method, size = _INTERPOLATION[form.interpolation], form.size
    if form.resize == "squash":
        return np.asarray(image.resize((size, size), method))
    if form.resize == "shortest":
        image = _centre(image)
        side = min(image.size)
        scaled = image.resize((size * image.width // side, size * image.height // side), method)
        left, top = round((scaled.width - size) / 2), round((scaled.height - size) / 2)
        return np.asarray(scaled.crop((left, top, left + size, top + size)))
    side = max(image.size)
    scaled = image.resize((max(1, round(size * image.width / side)), max(1, round(size * image.height / side))), method)
    canvas = Image.new("RGB", (size, size), (form.fill,) * 3)
    canvas.paste(scaled, ((size - scaled.width) // 2, (size - scaled.height) // 2))
    return np.asarray(canvas)


def _centre(image: Image.Image) -> Image.Image:
    """Of a ribbon only the part that can be seen: scaled as a whole it would take any amount of memory."""
    part = _RIBBON * min(image.size)
    if max(image.size) <= part:
        return image
    left, top = max(0, (image.width - part) // 2), max(0, (image.height - part) // 2)
    return image.crop((left, top, min(image.width, left + part), min(image.height, top + part)))


def _scaled(image: Image.Image, sizes: Set[int]) -> dict[int, Pixels]:
    """The picture by longest side, blue first as OpenCV has it, each made of the next larger one.

    OpenCV, since it is five times as quick as Pillow at this; what the model sees is resized as the model learned it.
    """
    reduced = max(image.size) // max(sizes)
    # By whole numbers first, so that of a large picture no second copy is made.
    rgb = np.asarray(image.reduce(reduced) if reduced > 1 else image)
    values = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
    made: dict[int, Pixels] = {}
    for size in sorted(sizes, reverse=True):
        made[size] = values = _shrunk(values, size)
    return made


def _grey(values: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_BGR2GRAY), np.uint8)


def _shrunk(values: Pixels, side_max: int) -> Pixels:
    while (longest := max(values.shape[:2])) > side_max:
        scale = max(0.5, side_max / longest)  # bilinear, and so every pixel counts only down to a half
        height, width = (max(1, round(scale * side)) for side in values.shape[:2])
        values = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return values


def perceptual_hash(grey: Pixels) -> bytes:
    """8 bytes of a (height, width) uint8 picture: the signs of its low frequencies (pHash, as imagehash has it)."""
    small = cv2.resize(grey, (_HASHED_SIDE, _HASHED_SIDE), interpolation=cv2.INTER_AREA)
    # Rounded, so that what is blank has no hash of rounding errors.
    low = np.round(_WAVES @ small @ _WAVES.T, 3)
    return np.packbits(low > np.median(low)).tobytes()


def _quality(grey: Pixels, side: int) -> Quality:
    """Of a grey picture, the shorter side of whose original is ``side``."""
    mean, deviation = cv2.meanStdDev(grey)
    brightness, contrast = float(mean[0, 0]) / 255, float(deviation[0, 0]) / 255
    edges = cv2.filter2D(grey, -1, _EDGES)[1:-1, 1:-1]  # how much brighter than its neighbours, without the border
    sharpness = float(cv2.meanStdDev(edges)[1][0, 0] / 255) ** 2 if edges.size else 0.0
    found = {
        "small": side < 64,
        "dark": brightness < 0.06,
        "bright": brightness > 0.985,
        "blank": contrast < 0.01,
        "blurred": sharpness < 0.0002,
    }
    return Quality(brightness, contrast, sharpness, tuple(flag for flag, is_so in found.items() if is_so))


def _thumbnails(scaled: Mapping[int, Pixels], sizes: Sequence[int]) -> dict[int, bytes]:
    made: dict[int, bytes] = {}
    last: tuple[tuple[int, ...], bytes] | None = None
    for size in sorted(sizes, reverse=True):
        values = scaled[size]
        if last is None or last[0] != values.shape:
            _, jpeg = cv2.imencode(".jpg", values, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
            last = (values.shape, jpeg.tobytes())
        made[size] = last[1]
    return made
