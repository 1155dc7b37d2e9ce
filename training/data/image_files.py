"""Reading one image file: any mode, any orientation, and one sentence for whatever cannot be read.

Who trains on a folder of downloads meets files that are cut off, mislabelled, hostile or no files
at all.  Whatever Pillow makes of them is an `Unreadable`.
"""

from __future__ import annotations

import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UserError

# Only formats that hold photographs: Pillow also knows some that start another program.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif",
)  # fmt: skip
ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """Why a file is no image."""


LEAVE_OUT = "mend or remove it, or leave such files out with --on-bad-image skip"


def open_image(path: str, advice: str = LEAVE_OUT) -> Image.Image:
    """The image in a file, upright, in RGB.

    Raises:
        UserError: it cannot be read; ends with the advice.
    """
    try:
        return read_image(path)
    except Unreadable as error:
        raise UserError(f"{path} cannot be read as an image: {error}; {advice}") from None


def problem(path: str, whole: bool) -> str | None:
    """Why a file cannot be read as an image, if so.

    Args:
        whole: decode all of it, and not only its header.
    """
    try:
        read_image(path, only_header=not whole)
    except Unreadable as error:
        return str(error)
    return None


def read_image(path: str, only_header: bool = False) -> Image.Image:
    """The image in a file, upright, in RGB; of several the first.

    Raises:
        Unreadable: whatever the cause.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # to open a pipe would wait for ever
            raise Unreadable("it is not a regular file")
        with warnings.catch_warnings():  # of large images, odd palettes, broken EXIF: all are fine
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                return image if only_header else upright(_plain_colours(image), image)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable(
            f"it holds none of {', '.join(FORMATS)}, or its header is damaged"
        ) from None
    except Exception as error:  # Pillow's decoders raise errors of any type
        reason = (getattr(error, "strerror", None) or str(error)).split("\n")[0].strip(" .")
        raise Unreadable(reason[:200] or type(error).__name__) from None


def _plain_colours(image: Image.Image) -> Image.Image:
    """RGB from any mode: palettes, CMYK and the like; grey levels of 16 and 32 bits are scaled.

    What is transparent is seen on white, as on a page.
    """
    if image.mode.startswith("I"):  # I;16 and its kin, or I, which is 32 bits wide
        grey = np.asarray(image)
        is_known = image.mode != "I" or image.format in ("PNG", "PPM")  # 16 bits, widened
        if grey.min() < 0 or grey.max() > 65535 or (not is_known and 0 < grey.max() < 256):
            raise Unreadable(
                f"its grey levels are {grey.min()} to {grey.max()}, in 32 bits, which have no "
                "range: save them in 8 or 16 bits"
            )
        image = Image.fromarray(np.rint(grey / 257).astype(np.uint8))
    elif image.mode == "F":
        grey = np.asarray(image)
        if not (grey.min() >= 0 and grey.max() <= 1):  # also for NaN
            raise Unreadable(
                f"its grey levels are {grey.min():g} to {grey.max():g}: fractions must be from 0 "
                "to 1"
            )
        image = Image.fromarray(np.rint(grey * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def upright(image: Image.Image, source: Image.Image) -> Image.Image:
    """`image` turned as the camera was held, which the EXIF data of its `source` says."""
    try:
        orientation = source.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data harm no image
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
