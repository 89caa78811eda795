"""Numbers in place of missing ones, and what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from headrace.transforms.keras_graph.layer_state import LayerState, register_layer
from headrace.transforms.layers.analyzers import MeansAnalyzer, MediansAnalyzer
from headrace.transforms.layers.columns_layer import ColumnsLayer

_STRATEGIES = ("mean", "median", "constant")


@keras.saving.register_keras_serializable(package="headrace")
class Impute(ColumnsLayer):
    """A number in place of each missing one, and an indicator of where it was missing; for `preprocessing_fn`.

    Keras passes a NaN on until all of a model's weights are NaN, and has no layer against it. scikit-learn's
    `SimpleImputer` works on arrays, outside of the graph that is served; this is it inside, column by column:
    `SimpleImputer(strategy=..., keep_empty_features=True)`, and behind it `MissingIndicator(features="all")`, so that
    the width does not depend on the data. Transform learns mean and median from the train split (the median is exact
    up to 1,048,576 distinct values).

    A column of which the train split has no value is filled with 0. A column of integers or booleans, which has no
    missing values or a default for them in the schema, is only cast. Infinite values are values; a mean of them is
    refused.

    Args:
        strategy: "mean", "median" or "constant".
        fill_value: What stands for a missing number with strategy "constant"; 0 if not given.
        add_indicator: Whether to join, on the last axis behind the values, 1 where a value was missing and 0 where not.
        statistics: The number of each column, if it is known already: then nothing is learned.

    Call with:
        numbers of shape `(rows, n)`, NaN where one is missing.

    Returns:
        float of shape `(rows, n)`, or `(rows, 2 n)` with the indicators.

    Raises:
        ValueError: Another strategy, a `fill_value` or `statistics` that the strategy does not use, other shapes.
        TypeError: Called on strings.

    Example:
        >>> import numpy as np
        >>> age = np.array([[31.0], [np.nan]])
        >>> Impute("median", add_indicator=True, statistics=[28.5])(age).numpy().tolist()
        [[31.0, 0.0], [28.5, 1.0]]
        >>> Impute("constant", fill_value=-1)(age).numpy().ravel().tolist()
        [31.0, -1.0]
    """

    def __init__(
        self,
        strategy: Literal["mean", "median", "constant"] = "mean",
        *,
        fill_value: float | None = None,
        add_indicator: bool = False,
        statistics: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if strategy not in _STRATEGIES:
            raise ValueError(f'Impute: strategy is "mean", "median" or "constant", received {strategy!r}')
        if fill_value is not None and strategy != "constant":
            raise ValueError(f"Impute: strategy {strategy!r} learns its value: fill_value is for strategy='constant'")
        if statistics is not None and strategy == "constant":
            raise ValueError("Impute: strategy 'constant' has its value in fill_value, not in statistics")
        self.strategy, self.fill_value, self.add_indicator = strategy, fill_value, add_indicator
        self.statistics = None if statistics is None else [float(one) for one in statistics]

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        numbers = tf.cast(tf.convert_to_tensor(inputs), self.compute_dtype)
        missing = tf.math.is_nan(numbers)
        filled = tf.where(missing, tf.constant(self._fills(), numbers.dtype), numbers)
        return tf.concat([filled, tf.cast(missing, numbers.dtype)], axis=-1) if self.add_indicator else filled

    def _fills(self) -> Any:
        if self.strategy == "constant":
            return self.fill_value or 0.0
        if self.statistics is None:
            raise ValueError(
                f"{self._said()} has not learned its {self.strategy} yet: Transform does that for the layers of "
                "preprocessing_fn; elsewhere give statistics=[...]"
            )
        return list(self.statistics)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        self._check_columns([inputs], "numbers")
        self._check_numbers([inputs], "a missing string is a token of its own to StringLookup, and needs none")
        columns = inputs.shape[1]
        if self.statistics is not None and len(self.statistics) != columns:
            raise ValueError(
                f"{self._said()}: statistics has {len(self.statistics)} numbers, and it is called on {columns} columns"
            )
        return keras.KerasTensor((inputs.shape[0], columns * (1 + self.add_indicator)), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {
            "strategy": self.strategy,
            "fill_value": self.fill_value,
            "add_indicator": self.add_indicator,
            "statistics": None if self.statistics is None else list(self.statistics),
        }
        return {**super().get_config(), **own}


class ImputeState(LayerState):
    """Impute: one number for each column."""

    def is_given(self, layer: Any) -> bool:
        return layer.strategy == "constant" or layer.statistics is not None

    def identity(self, layer: Any) -> Any:
        return {**layer.get_config(), "statistics": None}

    def analyzer(self, layer: Any, shape: tuple[int | None, ...], dtype: str) -> MeansAnalyzer | MediansAnalyzer:
        if layer.strategy == "mean":
            return MeansAnalyzer(layer._said())
        return MediansAnalyzer(layer._said(), shape[1] or 1)

    def set(self, layer: Any, state: tuple[float, ...], shape: tuple[int | None, ...]) -> None:
        layer.statistics = list(state)


register_layer(Impute, ImputeState())
