"""Images decoded in the graph: `DecodeImage` on a batch, beside TensorFlow's bare operation and Pillow.

    python -m benchmarks.decode_images

Prints the processor time of each for one image. The bare operation is called once an image and resizes nothing, nor
does Pillow: what a row of images of another size costs more is the resizing.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from headrace.transforms.layers import DecodeImage
from PIL import Image

# Height and width, format, height and width in the model, how many.
CASES = ((8, "PNG", 8, 20_000), (64, "PNG", 64, 4_000), (224, "JPEG", 224, 800), (500, "JPEG", 128, 300))
DISTINCT = 16


def pictures(size: int, kind: str) -> list[bytes]:
    """A few smooth pictures with some noise, as photographs have."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size]
    made = []
    for number in range(DISTINCT):
        waves = [127 + 100 * np.sin(x / (9 + band + number) + y / (11 - band)) for band in range(3)]
        pixels = np.stack(waves, -1) + random.normal(0, 5, (size, size, 3))
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, kind)
        made.append(buffer.getvalue())
    return made


def microseconds(work: Callable[[], Any], images: int) -> float:
    """Processor time of this process for one image."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / images * 1e6


def main() -> None:
    print(f"{'images':32} {'DecodeImage':>12} {'bare':>8} {'Pillow':>8}   µs of processor time an image")
    for size, kind, wanted, count in CASES:
        few = pictures(size, kind)
        data = [few[number % DISTINCT] for number in range(count)]
        layer = DecodeImage(wanted, wanted, 3)
        graph = tf.function(layer, input_signature=[tf.TensorSpec([None], tf.string)])
        batch = tf.constant(data)
        graph(batch[:DISTINCT])
        found = (
            microseconds(lambda: graph(batch), count),  # noqa: B023
            microseconds(lambda: [tf.io.decode_image(one, channels=3) for one in data], count),  # noqa: B023
            microseconds(lambda: [np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in data], count),  # noqa: B023
        )
        case = f"{count:,} {kind} {size} x {size}" + (f" to {wanted}" if wanted != size else "")
        print(f"{case:32} {found[0]:12.0f} {found[1]:8.0f} {found[2]:8.0f}")


if __name__ == "__main__":
    main()
