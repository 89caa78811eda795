"""What `check_image` lets through, the graph decodes: fuzzed, for a broken image must be found before a training."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tensorflow as tf
from headrace.components.ingest.image_check import ImageProblem, Shape, check_image
from headrace.transforms.layers import DecodeImage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

LAYERS = [DecodeImage(4, 4, channels) for channels in (1, 3, 4)]


def _files() -> dict[str, bytes]:
    noise = np.random.default_rng(3).integers(0, 256, (16, 17, 4), np.uint8)
    image = Image.fromarray(noise)
    options: dict[str, tuple[str, str, dict[str, Any]]] = {
        **{f"png-{mode}": (mode, "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
        **{f"jpeg-{mode}": (mode, "JPEG", {}) for mode in ("L", "RGB")},
        "jpeg-progressive": ("RGB", "JPEG", {"progressive": True}),
        "jpeg-restarts": ("RGB", "JPEG", {"restart_marker_rows": 1}),
    }
    files = {}
    for name, (mode, kind, saving) in options.items():
        buffer = io.BytesIO()
        image.convert("RGB" if mode != "RGBA" else mode).convert(mode).save(buffer, kind, **saving)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000).save(buffer, "PNG")
    return {**files, "png-16": buffer.getvalue()}


FILES = _files()


def test_sound_images_of_every_kind_are_let_through_and_decoded():
    for name, data in FILES.items():
        assert check_image(data) is None, name
        for layer in LAYERS:
            layer(tf.constant([data]))


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """An image of which bytes were cut off, flipped, overwritten, left out or put in."""
    data = bytearray(FILES[draw(st.sampled_from(sorted(FILES)))])
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "over", "delete", "insert"]))
        if kind == "cut":
            del data[place:]
        elif kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "over":
            data[place : place + 4] = draw(st.binary(min_size=4, max_size=4))
        elif kind == "delete":
            del data[place : place + draw(st.integers(1, 12))]
        else:
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@given(data=broken())
@settings(max_examples=600, deadline=None)
def test_what_is_let_through_is_decoded_and_nothing_else_is_raised(data: bytes):
    found = check_image(data, shape=Shape(4, 4, 1)) if data else ImageProblem("", "")
    if isinstance(found, ImageProblem):
        return
    for layer in LAYERS:
        assert layer(tf.constant([data])).shape[1:3] == (4, 4)


@given(data=st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_bytes_of_anything_are_a_problem_in_words(data: bytes):
    found = check_image(data)
    assert isinstance(found, ImageProblem) and found.reason and found.fix


def test_a_picture_of_too_many_pixels_is_a_problem(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    found = check_image(FILES["png-L"])
    assert isinstance(found, ImageProblem) and found.reason == "has more than 100 pixels"
