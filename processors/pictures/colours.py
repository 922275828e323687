"""The colours of a picture as every encoder expects them: sRGB, eight bits, upright, on white."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_WHITE = (255, 255, 255)
_TRANSFORMS_MAX = 16
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_srgb(image: Image.Image) -> Image.Image:
    """A loaded picture in mode RGB, turned as its EXIF data says, and without metadata."""
    turn = _TURNS.get(_orientation(image))
    rgb = _srgb(image)
    upright = rgb if turn is None else rgb.transpose(turn)
    # What came with the picture goes no further: Pillow would write its comment into every thumbnail.
    upright.info = {}
    return upright


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF data, which raise whatever they lead to, cost no picture
        return 1
    return value if isinstance(value, int) else 1


def _srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    flat = image
    if flat.mode.startswith("I") or flat.mode == "F":
        flat = _eight_bit(flat)
    elif flat.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in flat.info:
        flat = _on_white(flat)
    if flat.mode == "LAB":
        return _transformed(flat, _lab())
    if flat.mode not in ("RGB", "CMYK", "L"):
        flat = flat.convert("RGB")
    if isinstance(profile, bytes) and profile:
        flat = _transformed(flat, profile)
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    background = Image.new("RGBA", layer.size, (*_WHITE, 255))
    return Image.alpha_composite(background, layer).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """A greyscale picture of 16 or 32 bits or of floats; the wider ones by their own range of values."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8), "L")
    values = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0, neginf=0)
    top = float(values.max(initial=0.0))
    full = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else 65535.0 if top <= 65535.0 else top
    np.multiply(values, 255 / full, out=values)
    return Image.fromarray(values.clip(0, 255, out=values).round(out=values).astype(np.uint8), "L")


def _transformed(image: Image.Image, profile: bytes) -> Image.Image:
    transform = _to_srgb(profile, image.mode)
    if transform is None:
        return image
    try:
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, ValueError):
        return image


@lru_cache(_TRANSFORMS_MAX)  # cameras and shops use few profiles, and building a transform takes milliseconds
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None: the colours are right as they are, or nearly so without a profile that is broken or of another space."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _lab() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
