"""DecodeImage against Pillow: pixel by pixel, in every mode, from a SavedModel that has TensorFlow alone."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from headrace.transforms.layers import DecodeImage, Present
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """A smooth picture, as a photograph is and noise is not, of four channels."""
    y, x = np.mgrid[0:height, 0:width]
    shift = np.random.default_rng(seed).uniform(0, 3, 4)
    waves = [127 + 120 * np.sin(x / (6 + k) + y / (9 - k) + shift[k]) for k in range(4)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(layer: DecodeImage, *images: bytes) -> np.ndarray:
    return layer(tf.constant([[one] for one in images])).numpy()


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_png_is_as_pillow_decodes_it(mode: str, channels: int):
    image = photo(9, 14).convert("RGB").convert(mode) if mode != "RGBA" else photo(9, 14)
    found = decode(DecodeImage(9, 14, channels), encoded(image))
    expected = np.asarray(image.convert(MODES[channels]), np.int64).reshape(1, 9, 14, channels)
    assert found.dtype == np.uint8 and found.shape == expected.shape
    if mode == "1" and channels == 4:
        # TensorFlow's filler for one bit is of one bit; serving has the same.
        assert (found[..., 3] == 1).all()
        found[..., 3] = 255
    # To grey both take the weights of BT.601, in integers of their own; everything else is exact.
    to_grey = channels == 1 and mode in ("P", "RGB", "RGBA")
    assert np.abs(found - expected).max() <= (2 if to_grey else 0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 0}])
@pytest.mark.parametrize("channels", MODES)
def test_a_jpeg_is_as_pillow_decodes_it_but_for_rounding(options: dict[str, Any], channels: int):
    data = encoded(photo(40, 33).convert("RGB"), "JPEG", **options)
    found = decode(DecodeImage(40, 33, channels), data)[0].astype(int)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert(MODES[channels]), int).reshape(40, 33, channels)
    # Grey is the file's own luma here, and Pillow's is of the colours that were clipped.
    off = np.abs(found - expected)
    assert off.max() <= (4 if channels == 1 else 1) and off.mean() < 0.1


def test_sixteen_bits_a_channel_become_the_upper_eight():
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    assert np.array_equal(decode(DecodeImage(3, 4, 1), encoded(Image.fromarray(values)))[0, :, :, 0], values >> 8)


@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([1, 3, 4]))
@settings(max_examples=25, deadline=None)
def test_another_size_is_resized_as_pillow_does(height: int, width: int, channels: int):
    image = photo(24, 31, height).convert(MODES[channels])
    found = decode(DecodeImage(height, width, channels), encoded(image))[0].astype(int)
    # By bands: of a picture with transparency Pillow would weight the colours by it.
    bands = [band.resize((width, height), Image.Resampling.BILINEAR) for band in image.split()]
    expected = np.stack([np.asarray(band, int) for band in bands], -1)
    assert np.abs(found - expected).max() <= 1


def test_a_missing_image_is_zeros_and_present_tells_it_from_a_black_one():
    black = encoded(Image.new("L", (5, 4)))
    images = tf.constant([[b""], [black], [encoded(photo(4, 5).convert("L"))]])
    pixels = DecodeImage(4, 5, 1)(images).numpy()
    assert not pixels[:2].any() and pixels[2].any()
    assert Present()(images).numpy().ravel().tolist() == [0.0, 1.0, 1.0]
    assert decode(DecodeImage(4, 5, 3), *[b""] * 3).shape == (3, 4, 5, 3)
    assert DecodeImage(4, 5)(tf.zeros((0, 1), tf.string)).shape == (0, 4, 5, 3)


def test_pad_and_crop_keep_the_shape_of_what_is_in_the_picture():
    wide = Image.new("L", (20, 10), 200)
    pad = decode(DecodeImage(10, 10, 1, fit="pad"), encoded(wide))[0, :, :, 0]
    assert (pad[3:7] == 200).all() and not pad[:2].any() and not pad[8:].any()
    half = Image.new("L", (20, 10))
    half.paste(255, (0, 0, 5, 10))
    crop = decode(DecodeImage(10, 10, 1, fit="crop"), encoded(half))[0, :, :, 0]
    assert not crop.any()  # the left quarter is cut away
    stretch = decode(DecodeImage(10, 10, 1), encoded(half))[0, :, :, 0]
    assert (stretch[:, :2] == 255).all() and not stretch[:, 4:].any()
    for fit in ("pad", "crop"):
        for size in ((1, 300), (300, 1), (7, 3)):
            image = photo(*size).convert("RGB")
            assert decode(DecodeImage(5, 6, fit=fit), encoded(image)).shape == (1, 5, 6, 3)


def test_float_pixels_are_the_same_numbers():
    data = encoded(photo(6, 7).convert("RGB"))
    found = decode(DecodeImage(6, 7, dtype="float32"), data)
    assert found.dtype == np.float32 and np.array_equal(found, decode(DecodeImage(6, 7), data))


@pytest.mark.parametrize("rank", [1, 2])
def test_a_batch_may_be_of_rank_one_or_two(rank: int):
    data = [encoded(photo(4, 4, seed).convert("RGB")) for seed in range(3)]
    images = tf.constant(data) if rank == 1 else tf.constant(data)[:, None]
    assert np.array_equal(DecodeImage(4, 4)(images).numpy(), decode(DecodeImage(4, 4), *data))


def test_what_is_no_image_is_an_error_that_names_it():
    with pytest.raises(tf.errors.InvalidArgumentError, match="image"):
        decode(DecodeImage(4, 4), b"no image")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"height": 0, "width": 3}, "at least 1 pixel"),
        ({"height": 3, "width": 3, "channels": 2}, "expected 1"),
        ({"height": 3, "width": 3, "dtype": "int64"}, "from 0 to 255"),
        ({"height": 3, "width": 3, "fit": "squash"}, '"stretch", "pad" or "crop"'),
    ],
)
def test_arguments_that_are_none_are_refused(arguments: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        DecodeImage(**arguments)


CLIENT = """
import json, sys
import tensorflow as tf

serve = tf.saved_model.load(sys.argv[1]).signatures["serve"]
[found] = serve(image=tf.constant([[bytes.fromhex(one)] for one in json.load(sys.stdin)])).values()
ours = [name for name in sys.modules if name.partition(".")[0] == "headrace"]
print(json.dumps({"pixels": found.numpy().tolist(), "ours": ours}))
"""


def test_it_is_saved_and_needs_tensorflow_alone(tmp_path):
    image = keras.Input((1,), dtype="string", name="image")
    model = keras.Model(image, DecodeImage(4, 5, 4, fit="pad")(image))
    assert model.output.shape == (None, 4, 5, 4) and model.output.dtype == "uint8"
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    data = [encoded(photo(8, 5)), b"", encoded(photo(9, 9).convert("RGB"), "JPEG")]
    expected = model(tf.constant([[one] for one in data])).numpy()
    assert np.array_equal(again(tf.constant([[one] for one in data])).numpy(), expected)
    spec = tf.TensorSpec((None, 1), tf.string, name="image")
    serve = tf.function(lambda image: {"pixels": model(image)}, input_signature=[spec], autograph=False)
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"), signatures={"serve": serve})
    command = [sys.executable, "-I", "-c", CLIENT, str(tmp_path / "saved")]
    sent = json.dumps([one.hex() for one in data])
    done = subprocess.run(command, input=sent, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert np.array_equal(answer["pixels"], expected) and answer["ours"] == []
