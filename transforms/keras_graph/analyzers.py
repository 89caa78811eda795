"""Analyzers of Keras' own layers: a layer's settings bound to pure functions, which travels without Keras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms import feature_model
from headrace.transforms.keras_graph import bin_boundaries, vocabulary
from headrace.transforms.keras_graph.text_tokens import Tokenizer
from headrace.transforms.moments import Moments


def _flat(column: pa.Array) -> pa.Array:
    values = column.flatten() if feature_model.is_list(column.type) else column
    return feature_model.plain_values(values)


def _numbers(values: pa.Array | np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Float64 of the layer's input shape, NaN for missing."""
    if isinstance(values, np.ndarray):
        return values if values.dtype.kind == "f" else values.astype(np.float64)
    flat = _flat(values).cast(pa.float64(), safe=False)
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, *shape[1:])


class MeanVariance(NamedTuple):
    """What a Normalization divides by, of the shape of the axes it keeps; the variance is the population's."""

    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, moments: Moments) -> MeanVariance:
        """Mean and variance; (0, 1), which changes nothing, where no value was present."""
        some = np.asarray(moments.count) > 0
        return cls(np.where(some, moments.mean, 0.0), np.where(some, moments.variance, 1.0))


@dataclass(frozen=True)
class MomentsAnalyzer:
    """Moments of the axes a Normalization keeps.

    Args:
        shape: The layer's input shape; None for the rows.
        axes: The axes to reduce.
        layer: The layer's name, for messages.
    """

    shape: tuple[int | None, ...]
    axes: tuple[int, ...]
    layer: str

    def create(self) -> Moments:
        return Moments()

    def summarize(self, values: pa.Array | np.ndarray) -> Moments:
        return Moments.along(_numbers(values, self.shape), self.axes)

    def merge(self, left: Moments, right: Moments) -> Moments:
        return left.merge(right)

    def finish(self, summary: Moments) -> MeanVariance:
        finished = MeanVariance.of(summary)
        with np.errstate(over="ignore"):
            stored = finished.mean.astype(np.float32), finished.variance.astype(np.float32)
        if not all(np.isfinite(one).all() for one in stored):
            raise ValueError(
                f"Normalization layer {self.layer!r}: expected finite float32 mean and variance, got mean "
                f"{finished.mean} and variance {finished.variance}: its input has infinite or huge values in the train "
                "split; clip them before (keras.ops.clip), or take their logarithm"
            )
        return finished


@dataclass(frozen=True)
class BoundariesAnalyzer:
    """Weighted distinct values of all axes together, as Discretization takes them."""

    bins: int

    def create(self) -> bin_boundaries.WeightedValues:
        return bin_boundaries.create()

    def summarize(self, values: pa.Array | np.ndarray) -> bin_boundaries.WeightedValues:
        if isinstance(values, pa.Array):
            flat = _flat(values).drop_null()
            values = (flat.cast(pa.float32()) if pa.types.is_boolean(flat.type) else flat).to_numpy()
        return bin_boundaries.summarize(values)

    def merge(
        self, left: bin_boundaries.WeightedValues, right: bin_boundaries.WeightedValues
    ) -> bin_boundaries.WeightedValues:
        return bin_boundaries.merge(left, right)

    def finish(self, summary: bin_boundaries.WeightedValues) -> list[float]:
        return [float(one) for one in bin_boundaries.finish(summary, self.bins).astype(np.float32)]


def _bytes(values: pa.Array | np.ndarray) -> pa.Array:
    """Strings as binary, missing ones (null or empty) as null."""
    if isinstance(values, np.ndarray):
        texts = pa.array(values.reshape(-1), pa.binary())
    else:
        texts = _flat(values).cast(pa.binary())
    return pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts)


@dataclass(frozen=True)
class TextAnalyzer:
    """Token counts of a TextVectorization.

    A missing text, null or empty, is no document: it is left out, as missing values are everywhere.

    Args:
        tokenizer: Makes tokens of texts.
        counts: Counts the tokens.
    """

    tokenizer: Tokenizer
    counts: VocabularyAnalyzer

    def spilling(self, folder: str) -> TextAnalyzer:
        """The analyzer that leaves in a folder what is too much for memory."""
        return replace(self, counts=self.counts.spilling(folder))

    def create(self) -> vocabulary.TokenCounts:
        return vocabulary.create()

    def summarize(self, values: pa.Array | np.ndarray) -> vocabulary.TokenCounts:
        tokens = self.tokenizer.tokens(_bytes(values).drop_null())
        return vocabulary.summarize_documents(tokens.values, tokens.rows, tokens.texts)

    def merge(self, left: vocabulary.TokenCounts, right: vocabulary.TokenCounts) -> vocabulary.TokenCounts:
        return self.counts.merge(left, right)

    def finish(self, summary: vocabulary.TokenCounts) -> vocabulary.Vocabulary:
        return self.counts.finish(summary)


@dataclass(frozen=True)
class VocabularyAnalyzer:
    """Token counts of a lookup.

    Args:
        layer: The layer, for messages.
        row_length: Tokens in one row (a document of tf_idf).
        integers: Whether the tokens are ints.
        drop: The mask and out-of-vocabulary tokens, which are never part of the vocabulary.
        size: How many tokens are kept at most.
        encoding: Of string tokens.
        folder: Where counts go that are many; None keeps them in memory.
    """

    layer: str
    row_length: int
    integers: bool
    drop: tuple[Any, ...]
    size: int | None
    encoding: str = "utf-8"
    folder: str | None = None

    def spilling(self, folder: str) -> VocabularyAnalyzer:
        """The analyzer that leaves in a folder what is too much for memory."""
        return replace(self, folder=folder)

    def create(self) -> vocabulary.TokenCounts:
        return vocabulary.create()

    def summarize(self, values: pa.Array | np.ndarray) -> vocabulary.TokenCounts:
        if isinstance(values, pa.Array):
            tokens = _flat(values)
            if pa.types.is_floating(tokens.type):
                tokens = pc.if_else(pc.is_nan(tokens), None, tokens)
        else:
            tokens = self._tokens(values.reshape(-1))
        if self.integers and not pa.types.is_integer(tokens.type):
            tokens = (pc.trunc(tokens) if pa.types.is_floating(tokens.type) else tokens).cast(pa.int64())
        return vocabulary.summarize(tokens, self.row_length)

    def _tokens(self, flat: np.ndarray) -> pa.Array:
        if flat.dtype != object:
            return pa.array(flat, mask=np.isnan(flat) if flat.dtype.kind == "f" else None)
        return _bytes(flat)

    def merge(self, left: vocabulary.TokenCounts, right: vocabulary.TokenCounts) -> vocabulary.TokenCounts:
        return vocabulary.merge(left, right, self.folder)

    def finish(self, summary: vocabulary.TokenCounts) -> vocabulary.Vocabulary:
        try:
            return vocabulary.finish(summary, self.drop, self.size, self.encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.layer}: expected text in {self.encoding}, got the token {error.object!r}: convert the column, "
                "or use a Hashing layer, which takes any bytes"
            ) from error
