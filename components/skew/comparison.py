"""What a client got against what training had: where they differ, by signature, output and row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Features: float32 has 24 bits, 6e-8 relative; other operations for the same value may differ in the last of them.
FEATURE_RELATIVE = 1e-6
# TensorFlow computes a logarithm of one row and of many by two kernels, which differ in its last bit; less a mean and
# divided by a small deviation that bit is magnified, 17-fold on the flights. So a feature may also be off by this share
# of its usual size, which is this quantile of the sizes of its values other than 0.
FEATURE_OF_USUAL, USUAL_QUANTILE = 1e-5, 0.9
PREDICTION_ABSOLUTE, PREDICTION_RELATIVE = 1e-5, 1e-4


@dataclass(frozen=True)
class Difference:
    """One value that serving gives otherwise than training had it.

    Args:
        signature: The signature that was called.
        sent: ``"batches"`` or ``"single"``: how the row was sent.
        output: The feature or output.
        row: Position among the rows that were sent.
        expected, received: Training's value and serving's.
    """

    signature: str
    sent: str
    output: str
    row: int
    expected: Any
    received: Any


@dataclass(frozen=True)
class Expected:
    """What an output must be.

    Args:
        values: `(rows, ...)`.
        absolute, relative: How far a float may be off: by absolute + relative * |value|.
    """

    values: np.ndarray
    absolute: float
    relative: float


def feature(values: np.ndarray, usual: np.ndarray) -> Expected:
    """A feature must be the same; a float up to its last bits.

    Args:
        values: What it must be.
        usual: Values of it that say what its usual size is.
    """
    return Expected(values, FEATURE_OF_USUAL * _usual_size(usual), FEATURE_RELATIVE)


def _usual_size(values: np.ndarray) -> float:
    if values.dtype.kind != "f":
        return 0.0
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    return float(np.quantile(sizes, USUAL_QUANTILE)) if sizes.size else 0.0


def prediction(values: np.ndarray) -> Expected:
    """A prediction may differ by what the order of sums does."""
    return Expected(values, PREDICTION_ABSOLUTE, PREDICTION_RELATIVE)


def differences(
    signature: str, sent: str, received: Mapping[str, np.ndarray], expected: Mapping[str, Expected], rows: np.ndarray
) -> Iterator[Difference]:
    """Yields what differs; an output that is expected and was not given differs in its first row.

    Args:
        signature, sent: How the rows were sent.
        received: Outputs by name, `(rows sent, ...)`.
        expected: Outputs by name, for all rows.
        rows: Positions, among all rows, of those that were sent.
    """
    for name, wanted in expected.items():
        if name not in received:
            yield Difference(signature, sent, name, int(rows[0]), "an output", "none of that name")
            continue
        values = wanted.values[rows].reshape(len(rows), -1)
        got = received[name].reshape(len(rows), -1)
        if values.shape != got.shape:
            shapes = f"{values.shape[1]} values", f"{got.shape[1]} values"
            yield Difference(signature, sent, name, int(rows[0]), *shapes)
            continue
        for at in np.flatnonzero(_unequal(values, got, wanted).any(axis=1)):
            column = int(np.flatnonzero(_unequal(values[at : at + 1], got[at : at + 1], wanted)[0])[0])
            yield Difference(signature, sent, name, int(rows[at]), values[at, column], got[at, column])


def _unequal(expected: np.ndarray, received: np.ndarray, wanted: Expected) -> np.ndarray:
    if expected.dtype == object or received.dtype == object:
        return np.asarray(
            np.vectorize(_text, otypes=[object])(expected) != np.vectorize(_text, otypes=[object])(received)
        )
    if expected.dtype.kind != "f" and received.dtype.kind != "f":
        return np.asarray(expected != received)
    one, other = expected.astype(np.float64), received.astype(np.float64)
    with np.errstate(invalid="ignore"):
        close = np.isfinite(one) & (np.abs(one - other) <= wanted.absolute + wanted.relative * np.abs(one))
    different: np.ndarray = ~(close | (one == other) | (np.isnan(one) & np.isnan(other)))
    return different


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
