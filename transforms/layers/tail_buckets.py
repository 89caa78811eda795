"""Buckets that close in on the tail of a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from headrace.transforms.keras_graph import bin_boundaries as counted_values
from headrace.transforms.keras_graph.layer_state import register_layer
from headrace.transforms.keras_graph.stock_layers import DiscretizationState
from headrace.transforms.layers.analyzers import LARGEST, TailAnalyzer, tail_boundaries, tail_probabilities

# The largest number that is below the boundary of what is missing.
_LARGEST_VALUE = float(np.nextafter(np.float32(LARGEST), np.float32(0)))


@keras.saving.register_keras_serializable(package="headrace")
class TailBuckets(keras.layers.Discretization):  # type: ignore[misc]
    """The bucket of a number, where buckets hold half, a quarter, an eighth ... of the rows; for `preprocessing_fn`.

    `keras.layers.Discretization` learns buckets of equally many rows. Of amounts, counts and durations the last of them
    reaches from a little above the ordinary to a thousand times that, and 1,000 buckets would be needed to divide it.
    Here each boundary leaves half of what the one before left: the quantiles 1/2, 3/4, 7/8 ... 1 - 2^-depth. No target
    is looked at. Transform learns them from the train split, exact up to 1,048,576 distinct values, in float32, in
    which numbers are compared too. A number on a boundary is above it.

    Boundaries that coincide, as in a column that is mostly 0, are one: the buckets in use are 0, 1, 2 ... without gaps,
    and the width stays what `depth` says. A missing number has a bucket of its own, the last one, where Discretization
    puts it beside the largest. Of a column without any value, every number is in bucket 0.

    Args:
        depth: How many boundaries there are into a tail, the median among them.
        tail: "upper", "lower", or "both", which has 2 depth - 1 boundaries.
        output_mode: As of `keras.layers.Discretization`: "int", "one_hot", "multi_hot" or "count".
        bin_boundaries: What the layer has learned, if it is known already: one more than there are boundaries, filled
            up with the largest float32.

    Call with:
        numbers of shape `(rows, n)`, NaN where one is missing; a list is binned by the boundaries of all its columns.

    Returns:
        int32 of the same shape with output mode "int": from 0 to `num_bins` - 1, which is the missing one, and
        `num_bins` = boundaries + 2. Otherwise `(rows, num_bins)`.

    Raises:
        ValueError: A depth that is not from 1 to 50, another tail, boundaries of another number.

    Example:
        >>> amounts = TailBuckets(depth=3)
        >>> amounts.adapt(np.array([0, 0, 0, 1, 2, 3, 5, 8, 50.0]))
        >>> amounts.bin_boundaries[:3], amounts.num_bins
        ([2.0, 5.0, 8.0], 5)
        >>> amounts(np.array([[0], [7], [1e9], [np.nan]])).numpy().ravel().tolist()
        [0, 2, 3, 4]
    """

    def __init__(
        self,
        depth: int = 10,
        *,
        tail: Literal["upper", "lower", "both"] = "upper",
        output_mode: Literal["int", "one_hot", "multi_hot", "count"] = "int",
        bin_boundaries: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not 1 <= depth <= 50:
            raise ValueError(f"TailBuckets: depth is from 1 to 50, received {depth!r}")
        if tail not in ("upper", "lower", "both"):
            raise ValueError(f'TailBuckets: tail is "upper", "lower" or "both", received {tail!r}')
        boundaries = len(tail_probabilities(depth, tail))
        if bin_boundaries is not None and len(bin_boundaries) != boundaries + 1:
            raise ValueError(
                f"TailBuckets: expected {boundaries + 1} bin_boundaries of depth={depth} and tail={tail!r}, received "
                f"{len(bin_boundaries)}"
            )
        super().__init__(num_bins=boundaries + 2, output_mode=output_mode, **kwargs)
        self.depth, self.tail = depth, tail
        self.bin_boundaries = None if bin_boundaries is None else [float(one) for one in bin_boundaries]
        self.reset_state()

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        numbers = tf.cast(inputs, tf.float32)
        return super().call(tf.where(tf.math.is_nan(numbers), LARGEST, tf.minimum(numbers, _LARGEST_VALUE)))

    def reset_state(self) -> None:
        self.summary = counted_values.create()

    def update_state(self, data: Any) -> None:
        self.summary = counted_values.merge(self.summary, counted_values.summarize(np.asarray(data)))

    def finalize_state(self) -> None:
        self.bin_boundaries = tail_boundaries(self.summary, tail_probabilities(self.depth, self.tail))

    def get_config(self) -> dict[str, Any]:
        own = {"depth": self.depth, "tail": self.tail}
        left_out = ("num_bins", "epsilon", "sparse")
        return {**{key: value for key, value in super().get_config().items() if key not in left_out}, **own}


class TailBucketsState(DiscretizationState):
    """TailBuckets: always as many boundaries as its depth says."""

    def analyzer(self, layer: Any, shape: tuple[int | None, ...], dtype: str) -> TailAnalyzer:
        if dtype == "string":
            raise TypeError(f"TailBuckets layer {layer.name!r} is called on strings; it takes numbers")
        return TailAnalyzer(layer.num_bins, tail_probabilities(layer.depth, layer.tail))


register_layer(TailBuckets, TailBucketsState())
