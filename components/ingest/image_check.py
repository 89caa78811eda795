"""Whether bytes are an image that a model can decode: what is wrong with one that cannot, in words."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG")
"""What TensorFlow decodes in the graph and Pillow here, with the same result."""

CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by number of channels."""

_BEGINNINGS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"<svg": "an SVG",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip",
    b"version https://git-lfs": "a pointer of Git LFS, not the file",
}
# A PNG's last chunk, IEND: no bytes, and their CRC.
_PNG_END = b"\0\0\0\0IEND\xaeB\x60\x82"
# Start of a scan and end of the image; pixels' data has neither.
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_FETCH = "Fetch or write the file again."


class Shape(NamedTuple):
    """Height and width in pixels, and channels: 1 (grey), 3 (RGB) or 4 (RGBA)."""

    height: int
    width: int
    channels: int


class ImageProblem(NamedTuple):
    """Why bytes cannot be used: a sentence without a subject, and what to do."""

    reason: str
    fix: str


def check_image(
    data: bytes, modes: Sequence[str] | None = None, shape: Shape | None = None
) -> Pixels | ImageProblem | None:
    """Decodes an image wholly and says what is wrong with it.

    Args:
        data: The file's bytes.
        modes: Pillow's modes that are right, such as `["L"]`; None for any.
        shape: What to give the pixels as; None for no pixels.

    Returns:
        What is wrong; otherwise uint8 of `height * width * channels` pixels in row-major order, or None without shape.

    >>> check_image(b"hello").reason
    "is no PNG or JPEG: it begins with b'hello'"
    """
    if not data:
        return ImageProblem("is empty: there are no bytes of an image", _FETCH)
    try:
        with warnings.catch_warnings():
            # Of a picture as large as would be refused at twice the size.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            wrong = _wrong_mode(image, modes, shape)
            if wrong is not None:
                return wrong
            image.load()
            if not _has_end(data, image.format):
                return ImageProblem(f"is a {image.format} without its end", f"The file is cut short. {_FETCH}")
            return None if shape is None else _pixels(image, shape)
    except UnidentifiedImageError:
        return _no_image(data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS or 0
        return ImageProblem(f"has more than {most:,} pixels", "Scale it down; no model takes so many.")
    # What Pillow's decoders raise of broken files; a chunk of a wrong length gives any of them.
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, struct.error, zlib.error) as error:
        said = str(error) or type(error).__name__
        return ImageProblem(f"cannot be decoded: {said}", f"The file is damaged or cut short. {_FETCH}")


def _has_end(data: bytes, kind: str | None) -> bool:
    """Whether the file is whole: Pillow is content with all pixels, TensorFlow reads on to the end.

    Raises:
        SyntaxError, OSError: What stands between a PNG's pixels and its end is damaged.
    """
    if kind == "JPEG":
        return _JPEG_END in data[data.rfind(_JPEG_SCAN) :]
    Image.open(io.BytesIO(data), formats=FORMATS).verify()
    return _PNG_END in data


def _wrong_mode(image: Image.Image, modes: Sequence[str] | None, shape: Shape | None) -> ImageProblem | None:
    if image.mode == "CMYK":
        return ImageProblem(
            "is CMYK, which TensorFlow does not decode to every number of channels", "Convert it to RGB."
        )
    if modes is not None and image.mode not in modes:
        wanted = " or ".join(modes)
        return ImageProblem(f"has the mode {image.mode}, expected {wanted}", "Convert it, or give modes= what it has.")
    if shape is not None and image.mode.startswith("I"):
        return ImageProblem("has 16 bits a channel: pixels are of 8", "Convert it to 8 bits a channel.")
    return None


def _no_image(data: bytes) -> ImageProblem:
    found = next((what for begin, what in _BEGINNINGS.items() if data.startswith(begin)), None)
    found = "a WebP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else found
    if data.startswith((b"\x89PNG", b"\xff\xd8")):
        return ImageProblem("begins as an image and then is none", f"The file is damaged or cut short. {_FETCH}")
    said = f"it is {found}" if found else f"it begins with {data[:12]!r}"
    return ImageProblem(f"is no PNG or JPEG: {said}", "Convert it to PNG or JPEG, or leave it out.")


def _pixels(image: Image.Image, shape: Shape) -> Pixels:
    wanted: Any = image.convert(CHANNELS[shape.channels])
    if wanted.size != (shape.width, shape.height):
        wanted = wanted.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    return np.asarray(wanted, np.uint8).reshape(-1)
