"""One vector of several, each of which a row may lack."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="headrace")
class JoinModalities(keras.layers.Layer):  # type: ignore[misc]
    """Joins the vectors of a row's modalities into one, and says what the vector of a missing one is.

    `keras.layers.Concatenate` joins vectors, but what a branch makes of nothing (a Dense layer's bias, an average of no
    words) is left to chance, and a model that was trained on complete rows is then asked about it. Here the vector of a
    missing modality is zeros or a vector that is trained, an indicator says which modalities were there, and some rows
    of the training lose some of theirs, so that the model learns to do without.

    The modalities are joined in the order of their names, and then the indicators in the same order.

    Args:
        missing: What stands for a missing modality: "zero", or "learned", a vector of weights for each. It learns only
            from rows that lack the modality: have some, or let `dropout` make some.
        dropout: The share of rows that lose a modality in training, drawn for each modality by itself, so a row may
            lose all: of all of them, or by name. `keras.layers.Dropout` would scale up what it leaves, as serving never
            does.
        indicators: Whether to join, for each modality, 1 where it is there and 0 where it is not.
        seed: Of the dropout; Keras' own without one.

    Call with:
        vectors: Modality -> tensor of shape `(rows, n)`. No NaN: masked from the output, it still reaches the gradients
            of its branch.
        present: Modality -> tensor of shape `(rows, 1)` or `(rows,)`, not 0 where it is there (`Present` makes it); one
            that is left out is always there.
        training: Whether to drop.

    Returns:
        float tensor of shape `(rows, all n + modalities)`.

    Raises:
        ValueError: A vector of another rank, a name in `present` or `dropout` that is no modality, a rate that is not
            in [0, 1).

    The dropout of whole modalities is that of Neverova et al., ModDrop, IEEE TPAMI 38(8), 2016.

    Example:
        >>> import numpy as np
        >>> text, table = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0], [6.0]])
        >>> join = JoinModalities()
        >>> join({"text": text, "table": table}, present={"text": np.array([[1.0], [0.0]])}).numpy().tolist()
        [[5.0, 1.0, 2.0, 1.0, 1.0], [6.0, 0.0, 0.0, 1.0, 0.0]]
    """

    def __init__(
        self,
        *,
        missing: Literal["zero", "learned"] = "zero",
        dropout: float | Mapping[str, float] = 0.0,
        indicators: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if missing not in ("zero", "learned"):
            raise ValueError(f'JoinModalities: missing is "zero" or "learned", received {missing!r}')
        rates = dropout.values() if isinstance(dropout, Mapping) else [dropout]
        if wrong := [rate for rate in rates if not 0 <= rate < 1]:
            raise ValueError(f"JoinModalities: dropout is a share of rows in [0, 1), received {wrong[0]!r}")
        self.missing, self.indicators, self.seed = missing, indicators, seed
        self.dropout = dict(dropout) if isinstance(dropout, Mapping) else float(dropout)
        if any(rates):
            self.seed_generator = keras.random.SeedGenerator(seed)
        self._learned: dict[str, Any] = {}

    def build(self, vectors_shape: Any = None, present_shape: Any = None) -> None:
        if not isinstance(vectors_shape, Mapping) or not vectors_shape:
            raise ValueError(f"{self._said()}: expected a dict of modality to vector, received {vectors_shape!r}")
        for name, shape in vectors_shape.items():
            if len(shape) != 2 or shape[1] is None:
                raise ValueError(
                    f"{self._said()}: expected a vector of known length a row for {name!r}, received the shape "
                    f"{tuple(shape)}: flatten it, or pool over it"
                )
        self._check_names("present", present_shape or {}, vectors_shape)
        self._check_names("dropout", self.dropout if isinstance(self.dropout, Mapping) else {}, vectors_shape)
        if self.missing == "learned":
            # One that is always there would have a weight that nothing trains.
            lacking = [name for name in sorted(vectors_shape) if name in (present_shape or {}) or self._rate(name)]
            for name in lacking:
                shape = vectors_shape[name]
                self._learned[name] = self.add_weight(shape=(1, shape[1]), initializer="zeros", name=f"missing_{name}")

    def call(
        self, vectors: Mapping[str, Any], present: Mapping[str, Any] | None = None, training: bool | None = None
    ) -> Any:
        joined, indicators = [], []
        for name, vector in sorted(vectors.items()):
            rows = ops.shape(vector)[0]
            there = self._there((present or {}).get(name), name, rows, training)
            if there is not None:
                vector = ops.where(there, vector, ops.cast(self._learned.get(name, 0.0), vector.dtype))
            joined.append(vector)
            given = ops.ones((rows, 1)) if there is None else there
            indicators.append(ops.cast(given, self.compute_dtype))
        return ops.concatenate([*joined, *indicators] if self.indicators else joined, axis=-1)

    def _there(self, present: Any, name: str, rows: Any, training: bool | None) -> Any:
        """Which rows have the modality, bool of shape `(rows, 1)`; None for all of them."""
        there = None if present is None else ops.not_equal(ops.reshape(present, (-1, 1)), 0)
        rate = self._rate(name)
        if not training or not rate:
            return there
        kept = keras.random.uniform((rows, 1), seed=self.seed_generator) >= rate
        return kept if there is None else ops.logical_and(there, kept)

    def _rate(self, name: str) -> float:
        return self.dropout.get(name, 0.0) if isinstance(self.dropout, Mapping) else self.dropout

    def compute_output_spec(self, vectors: Mapping[str, Any], present: Any = None, training: Any = None) -> Any:
        width = sum(vector.shape[1] for vector in vectors.values()) + len(vectors) * self.indicators
        return keras.KerasTensor((next(iter(vectors.values())).shape[0], width), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"missing": self.missing, "dropout": self.dropout, "indicators": self.indicators, "seed": self.seed}
        return {**super().get_config(), **own}

    def _said(self) -> str:
        return f"JoinModalities layer {self.name!r}"

    def _check_names(self, argument: str, given: Iterable[str], modalities: Iterable[str]) -> None:
        for name in given:
            if name not in modalities:
                near = difflib.get_close_matches(name, modalities, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(modalities))}"
                raise ValueError(f"{self._said()}: {argument} names {name!r}, which is no modality; {hint}")
