"""What is mutated: a small good file of every kind that is read, in the variants that take different ways."""

import io
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from tests import videos


class Seed(NamedTuple):
    """A file that decodes."""

    name: str
    raw: bytes
    is_video: bool = False


@cache
def seeds() -> tuple[Seed, ...]:
    """Every kind, always in the same order."""
    return (*_pictures(), *_videos())


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _pictures() -> list[Seed]:
    rgb = Image.fromarray(videos.scene(1, 96, 64))
    rgba = rgb.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    palette = rgb.quantize(32)
    wide = Image.fromarray(np.linspace(0, 65535, 64 * 64, dtype=np.uint16).reshape(64, 64))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)], "duration": 40}
    made = {
        "jpeg": _saved(rgb, "JPEG", exif=exif, icc_profile=profile),
        "jpeg-progressive": _saved(rgb, "JPEG", progressive=True, comment=b"a comment"),
        "jpeg-grey": _saved(rgb.convert("L"), "JPEG", restart_marker_rows=1),
        "jpeg-cmyk": _saved(rgb.convert("CMYK"), "JPEG"),
        "jpeg-mpo": _saved(rgb, "MPO", save_all=True, append_images=[rgb]),
        "png": _saved(rgb, "PNG", icc_profile=lab, exif=exif),
        "png-rgba": _saved(rgba, "PNG"),
        "png-palette": _saved(palette, "PNG", transparency=3, icc_profile=profile),
        "png-16": _saved(wide, "PNG"),
        "png-animated": _saved(rgb, "PNG", **frames),
        "webp": _saved(rgb, "WEBP", exif=exif, icc_profile=profile),
        "webp-lossless": _saved(rgba, "WEBP", lossless=True),
        "webp-animated": _saved(rgb, "WEBP", **frames),
        "gif": _saved(palette, "GIF", transparency=3),
        "gif-animated": _saved(rgb, "GIF", **frames),
        "bmp": _saved(rgb, "BMP"),
        "bmp-palette": _saved(palette, "BMP"),
        "avif": _saved(rgb, "AVIF", exif=exif),
        "avif-alpha": _saved(rgba, "AVIF"),
        "tiff": _saved(rgb, "TIFF", exif=exif),
        "tiff-16": _saved(wide, "TIFF"),
        "tiff-bits": _saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff-cmyk": _saved(rgb.convert("CMYK"), "TIFF", compression="tiff_lzw"),
    }
    for compression in ("tiff_adobe_deflate", "jpeg", "packbits", "zstd"):
        made[f"tiff-{compression}"] = _saved(rgb, "TIFF", compression=compression)
    return [Seed(name, raw) for name, raw in made.items()]


def _videos() -> list[Seed]:
    frames = videos.scenes([1, 2], each=4)
    return [Seed(f"video-{container}", videos.video(frames, container), True) for container in videos.CODECS]
