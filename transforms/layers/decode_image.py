"""An image's bytes as pixels, in the graph."""

from __future__ import annotations

from typing import Any, Literal

import keras

_CHANNELS = (1, 3, 4)
_DTYPES = ("uint8", "float32")


@keras.saving.register_keras_serializable(package="headrace")
class DecodeImage(keras.layers.Layer):  # type: ignore[misc]
    """The pixels of JPEG and PNG images from their bytes, all of one size; for `preprocessing_fn`.

    Keras reads images from files (`keras.utils.load_img`) and has no layer that decodes. This one is a few operations
    of TensorFlow, so that a client of the exported model sends the bytes of a file as it is.

    A missing image, which has no bytes, is zeros; `Present` tells it from a black one. Bytes that are no image are an
    error, of the whole batch: ImageExampleGen finds them before a training, and a model server says so to its client.

    An image of another number of channels is converted (grey by the weights of ITU-R BT.601, transparency left away, 16
    bits a channel to the upper 8), and one of another size resized, with antialiasing as Pillow and Keras' own loading
    of photographs would; one of the right size and channels is as it was. An orientation in a photograph's EXIF is not
    applied.

    Args:
        height: Of the pixels that come out.
        width: Of the same.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        dtype: "uint8", which takes a quarter of the space in the stored features, or "float32". Both 0 to 255:
            `keras.layers.Rescaling(1 / 255)` belongs into the model.
        fit: How an image of another shape becomes one of this: "stretch"; "pad", scaled until it is wholly inside, the
            rest black; or "crop", scaled until it covers all, the middle kept.

    Call with:
        string of shape `(rows, 1)` or `(rows,)`.

    Returns:
        Of shape `(rows, height, width, channels)`.

    Raises:
        ValueError: A size that is none, or another number of channels, dtype or fit.

    Example:
        >>> import numpy as np, tensorflow as tf
        >>> png = tf.io.encode_png(np.full((2, 3, 1), 7, np.uint8)).numpy()
        >>> DecodeImage(2, 3, 1)(np.array([[png], [b""]], object)).numpy().reshape(2, 6).tolist()
        [[7, 7, 7, 7, 7, 7], [0, 0, 0, 0, 0, 0]]
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int = 3,
        *,
        dtype: Literal["uint8", "float32"] = "uint8",
        fit: Literal["stretch", "pad", "crop"] = "stretch",
        **kwargs: Any,
    ) -> None:
        if height < 1 or width < 1:
            raise ValueError(f"expected a height and a width of at least 1 pixel, got {height} and {width}")
        if channels not in _CHANNELS:
            raise ValueError(f"channels={channels!r}: expected 1 (grey), 3 (RGB) or 4 (RGBA)")
        if dtype not in _DTYPES:
            raise ValueError(f'dtype={dtype!r}: expected "uint8" or "float32", each from 0 to 255')
        if fit not in ("stretch", "pad", "crop"):
            raise ValueError(f'fit={fit!r}: expected "stretch", "pad" or "crop"')
        super().__init__(dtype=dtype, **kwargs)
        self.height, self.width, self.channels, self.fit = height, width, channels, fit
        self._pixel_dtype = dtype
        # Its input are strings, which Keras would cast to the layer's dtype.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.supports_jit = False

    def call(self, images: Any) -> Any:
        import tensorflow as tf

        flat = tf.reshape(tf.convert_to_tensor(images, tf.string), [-1])
        return tf.map_fn(self._pixels, flat, fn_output_signature=tf.TensorSpec(self._shape, self._pixel_dtype))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], *self._shape)

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(images.shape), self._pixel_dtype)

    def get_config(self) -> dict[str, Any]:
        mine = {"height": self.height, "width": self.width, "channels": self.channels, "fit": self.fit}
        return {**super().get_config(), "dtype": self._pixel_dtype, **mine}

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    def _pixels(self, data: Any) -> Any:
        import tensorflow as tf

        return tf.cond(
            tf.equal(tf.strings.length(data), 0),
            lambda: tf.zeros(self._shape, self._pixel_dtype),
            lambda: self._decoded(data),
        )

    def _decoded(self, data: Any) -> Any:
        import tensorflow as tf

        decoded = _decode(data, self.channels)
        is_right = tf.reduce_all(tf.equal(tf.shape(decoded)[:2], self._shape[:2]))
        pixels = tf.cond(
            is_right, lambda: tf.cast(decoded, self._pixel_dtype), lambda: self._resized(tf.cast(decoded, tf.float32))
        )
        return tf.ensure_shape(pixels, self._shape)

    def _resized(self, image: Any) -> Any:
        import tensorflow as tf

        size = tf.constant(self._shape[:2])
        inner = size
        if self.fit != "stretch":
            ratios = tf.cast(size, tf.float64) / tf.cast(tf.shape(image)[:2], tf.float64)
            ratio = tf.reduce_min(ratios) if self.fit == "pad" else tf.reduce_max(ratios)
            inner = tf.cast(tf.round(tf.cast(tf.shape(image)[:2], tf.float64) * ratio), tf.int32)
            inner = tf.clip_by_value(inner, 1, size) if self.fit == "pad" else tf.maximum(inner, size)
        resized = tf.image.resize(image, inner, "bilinear", antialias=True)
        if self.fit != "stretch":
            resized = tf.image.resize_with_crop_or_pad(resized, self.height, self.width)
        # A bilinear mean stays within what it is of, but for the last bit.
        resized = tf.clip_by_value(resized, 0.0, 255.0)
        return tf.cast(tf.round(resized), tf.uint8) if self._pixel_dtype == "uint8" else resized


def _decode(data: Any, channels: int) -> Any:
    """The pixels of one image as it is, uint8 of shape `(any, any, channels)`."""
    import tensorflow as tf

    def jpeg() -> Any:
        # The fast transform, TensorFlow's default, gives other pixels than Pillow, browsers and cameras.
        pixels = tf.io.decode_jpeg(data, channels=min(channels, 3), dct_method="INTEGER_ACCURATE")
        # A JPEG has no transparency.
        opaque = tf.constant(255, tf.uint8)
        return pixels if channels < 4 else tf.pad(pixels, [[0, 0], [0, 0], [0, 1]], constant_values=opaque)

    return tf.cond(tf.io.is_jpeg(data), jpeg, lambda: tf.io.decode_png(data, channels=channels))
