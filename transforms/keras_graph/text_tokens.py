"""The tokens of texts, as TextVectorization makes them: standardized, split, joined to n-grams.

What Keras names (`lower_and_strip_punctuation`, `whitespace`, `character`, n-grams) is done on Arrow arrays, byte for
byte as TensorFlow's `tf.strings.lower`, `regex_replace`, `split`, `unicode_split` and `ngrams` do it, so that a worker
needs no TensorFlow for it. An author's own callable is TensorFlow code: a graph of it travels.
"""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Keras' own pattern; both TensorFlow and Arrow match it by RE2.
PUNCTUATION = r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']'


class Tokens(NamedTuple):
    """Tokens of some texts.

    Args:
        values: All tokens, flat, as binary.
        rows: Row number of each token, ascending.
        texts: How many rows there are.
    """

    values: pa.Array
    rows: np.ndarray
    texts: int


class Tokenizer(Protocol):
    """Makes tokens of texts."""

    def tokens(self, texts: pa.Array) -> Tokens:
        """The tokens of binary texts without nulls."""
        ...


@dataclass(frozen=True)
class ArrowTokenizer:
    """What Keras names, on Arrow arrays.

    Args:
        standardize: None, `lower`, `strip_punctuation` or `lower_and_strip_punctuation`.
        split: None, `whitespace` or `character`.
        ngrams: Widths of n-grams; None for single tokens as they are.

    >>> tokenizer = ArrowTokenizer("lower_and_strip_punctuation", "whitespace", (1, 2))
    >>> tokenizer.tokens(pa.array([b"A bird, two"])).values.to_pylist()
    [b'a', b'bird', b'two', b'a bird', b'bird two']
    """

    standardize: str | None
    split: str | None
    ngrams: tuple[int, ...] | None = None

    def tokens(self, texts: pa.Array) -> Tokens:
        found = self._split(self._standardized(texts))
        return found if self.ngrams is None else _joined(found, self.ngrams)

    def _standardized(self, texts: pa.Array) -> pa.Array:
        # Arrow's text kernels want text; these look at ASCII bytes alone, whatever the others are.
        if self.standardize in ("lower", "lower_and_strip_punctuation"):
            texts = pc.ascii_lower(texts.view(pa.string())).view(pa.binary())
        if self.standardize in ("strip_punctuation", "lower_and_strip_punctuation"):
            texts = pc.replace_substring_regex(texts, pattern=PUNCTUATION, replacement=b"")
        return texts

    def _split(self, texts: pa.Array) -> Tokens:
        if self.split is None:
            return Tokens(texts, np.arange(len(texts)), len(texts))
        if self.split == "character":
            return _characters(texts)
        words = pc.ascii_split_whitespace(texts.view(pa.string()))
        lengths = pc.list_value_length(words).to_numpy(zero_copy_only=False)
        values, rows = words.flatten().view(pa.binary()), np.repeat(np.arange(len(texts)), lengths)
        # A space at an end makes an empty word in Arrow, and none in TensorFlow.
        some = pc.greater(pc.binary_length(values), 0)
        return Tokens(values.filter(some), rows[some.to_numpy(zero_copy_only=False)], len(texts))


def _characters(texts: pa.Array) -> Tokens:
    """One token a code point; bytes that are no text are U+FFFD, as in `tf.strings.unicode_split`."""
    decoded = [text.decode("utf-8", "replace") for text in texts.to_pylist()]
    points = np.frombuffer("".join(decoded).encode("utf-32-le"), np.uint32)
    unique, codes = np.unique(points, return_inverse=True)
    letters = pa.array([chr(point).encode() for point in unique], pa.binary())
    rows = np.repeat(np.arange(len(decoded)), [len(text) for text in decoded])
    return Tokens(letters.take(pa.array(codes)), rows, len(decoded))


def _joined(tokens: Tokens, widths: tuple[int, ...]) -> Tokens:
    """N-grams of each row, joined by a space; a row shorter than a width has none of it."""
    values: list[pa.Array] = []
    rows: list[np.ndarray] = []
    for width in widths:
        count = max(0, len(tokens.values) - width + 1)
        same_row = tokens.rows[:count] == tokens.rows[width - 1 :][:count]
        parts = [tokens.values.slice(start, count).filter(pa.array(same_row)) for start in range(width)]
        values.append(parts[0] if width == 1 else pc.binary_join_element_wise(*parts, pa.scalar(b" ", pa.binary())))
        rows.append(tokens.rows[:count][same_row])
    return Tokens(pa.concat_arrays(values), np.concatenate(rows), tokens.texts)


class GraphTokenizer:
    """An author's own `standardize` or `split`, as a graph; pickled for this process it is found by its name.

    Args:
        preprocess: From a string tensor of texts to a ragged or dense tensor of tokens.
    """

    def __init__(self, preprocess: Callable[[Any], Any]) -> None:
        import tensorflow as tf

        def function(texts: Any) -> tuple[Any, Any]:
            tokens = preprocess(texts)
            if isinstance(tokens, tf.RaggedTensor):
                return tokens.flat_values, tokens.value_rowids()
            width = tf.size(tokens, tf.int64) // tf.maximum(tf.size(texts, tf.int64), 1)
            rows = tf.repeat(tf.range(tf.size(texts, tf.int64)), width)
            return tf.reshape(tokens, [-1]), rows

        traced = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        self._compute = traced.get_concrete_function()
        self._name = uuid.uuid4().hex
        _tokenizers[self._name] = self

    def tokens(self, texts: pa.Array) -> Tokens:
        import tensorflow as tf

        values, rows = self._compute(tf.constant(texts.to_numpy(zero_copy_only=False), tf.string))
        return Tokens(pa.array(values.numpy(), pa.binary()), rows.numpy(), len(texts))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self._name,)


_tokenizers: weakref.WeakValueDictionary[str, GraphTokenizer] = weakref.WeakValueDictionary()


def _unpickled(name: str) -> GraphTokenizer:
    found = _tokenizers.get(name)
    if found is None:
        raise RuntimeError(
            "a TextVectorization with a standardize= or split= of your own learns its vocabulary in the process that "
            "traced it, and this is another one: run Transform with Beam's DirectRunner, or split the text in a Lambda "
            "layer and use StringLookup"
        )
    return found
