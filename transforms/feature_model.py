"""The feature model: what a column of each Arrow type is to the schema, to Keras, to a signature and to a JSON client.

`KINDS` is the one table. `docs/feature-model.md` is made from it (`python -m headrace.transforms.feature_model`).
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# 2**24: every integer up to it in magnitude has a float32 of its own (IEEE 754 binary32 has 24 significant bits).
FLOAT32_EXACT = 2**24


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Args:
        name: The kind of column.
        arrow: The Arrow types it covers, in words.
        feature_type: The `FeatureType` of tensorflow-metadata's schema.
        marker: What beside the type tells the kind in the schema, such as `bool_domain`; "" for nothing.
        keras_dtype: What `preprocessing_fn` sees of a column without missing values, or with a stated default.
        nullable_dtype: What it sees of a column with missing values and no stated default.
        signature_dtype: The signature's dtype for `keras_dtype`.
        json: What a client of TensorFlow Serving writes.
        missing: The value that stands for a missing one in `nullable_dtype`.
        matches: Whether an Arrow type is of this kind.
    """

    name: str
    arrow: str
    feature_type: str
    marker: str
    keras_dtype: str
    nullable_dtype: str
    signature_dtype: str
    json: str
    missing: float | str
    matches: Callable[[pa.DataType], bool]


NAN = float("nan")

KINDS = (
    Kind("bool", "bool", "INT", "bool_domain", "bool", "float32", "DT_BOOL", "true, false", NAN, pa.types.is_boolean),
    Kind(
        "integer",
        "int8, int16, int32, int64, uint8, uint16, uint32, uint64",
        *("INT", "", "int64", "float32", "DT_INT64", "a whole number", NAN, pa.types.is_integer),
    ),
    Kind(
        "float",
        "float16, float32, float64",
        *("FLOAT", "", "float32", "float32", "DT_FLOAT", "a number", NAN, pa.types.is_floating),
    ),
    Kind(
        "decimal",
        "decimal32, decimal64, decimal128, decimal256",
        *("FLOAT", "", "float32", "float32", "DT_FLOAT", "a number", NAN, pa.types.is_decimal),
    ),
    Kind(
        "string",
        "string, large_string, string_view, or a dictionary of them",
        *("BYTES", "", "string", "string", "DT_STRING", "a string", ""),
        lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t),
    ),
    Kind(
        "bytes",
        "binary, large_binary, binary_view, fixed_size_binary",
        *("BYTES", "", "string", "string", "DT_STRING", '{"b64": "..."}', ""),
        lambda t: (
            pa.types.is_binary(t)
            or pa.types.is_large_binary(t)
            or pa.types.is_binary_view(t)
            or pa.types.is_fixed_size_binary(t)
        ),
    ),
    Kind(
        "date",
        "date32, date64",
        *("INT", "time_domain UNIX_DAYS", "int64", "float32", "DT_INT64", "days since 1970-01-01", NAN),
        pa.types.is_date,
    ),
    Kind(
        "timestamp",
        "timestamp of any unit; with a zone as its instant, without one as if in UTC",
        *("INT", "time_domain UNIX_MICROSECONDS", "int64", "float32", "DT_INT64"),
        *("microseconds since 1970-01-01T00:00Z", NAN, pa.types.is_timestamp),
    ),
    Kind(
        "time",
        "time32, time64, duration",
        *("INT", "", "int64", "float32", "DT_INT64", "microseconds", NAN),
        lambda t: pa.types.is_time(t) or pa.types.is_duration(t),
    ),
    Kind(
        "null",
        "null (no value anywhere)",
        *("FLOAT", "", "float32", "float32", "DT_FLOAT", "null", NAN, pa.types.is_null),
    ),
)
_BY_NAME = {kind.name: kind for kind in KINDS}


def is_list(arrow_type: pa.DataType) -> bool:
    """Whether the column holds several values a row."""
    return bool(
        pa.types.is_list(arrow_type)
        or pa.types.is_large_list(arrow_type)
        or pa.types.is_fixed_size_list(arrow_type)
        or pa.types.is_list_view(arrow_type)
        or pa.types.is_large_list_view(arrow_type)
    )


def element_type(arrow_type: pa.DataType) -> pa.DataType:
    """The type of one value: of a list its elements', of a dictionary its values'."""
    while is_list(arrow_type) or pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    return arrow_type


def kind_of(arrow_type: pa.DataType, column: str = "") -> Kind:
    """The row of the table for an Arrow type; a list is of its elements' kind.

    Args:
        arrow_type: Type of the column.
        column: Its name, for the message.

    Raises:
        TypeError: The feature model has no such type: a struct, a map, a union, a list of lists.

    Example:
        >>> kind_of(pa.list_(pa.date32())).feature_type
        'INT'
    """
    if not (is_list(arrow_type) and is_list(arrow_type.value_type)):
        value_type = element_type(arrow_type)
        for kind in KINDS:
            if kind.matches(value_type):
                return kind
    known = ", ".join(kind.name for kind in KINDS)
    raise TypeError(
        f"column {column!r} has the Arrow type {arrow_type}; the feature model knows {known}, and lists of them. "
        "Select its parts as columns of their own (in SQL: s.field AS field), or drop it."
    )


def feature_type(arrow_type: pa.DataType) -> str:
    """The `FeatureType` of tensorflow-metadata's schema: "INT", "FLOAT" or "BYTES"."""
    return kind_of(arrow_type).feature_type


def keras_dtype(arrow_type: pa.DataType, *, nullable: bool = False, default: Any = None) -> str:
    """What `preprocessing_fn` sees: "bool", "int64", "float32" or "string".

    Args:
        arrow_type: Type of the column.
        nullable: Whether values are missing.
        default: The stated value for missing ones, if any: it keeps an int an int.
    """
    kind = kind_of(arrow_type)
    return kind.nullable_dtype if nullable and default is None else kind.keras_dtype


def signature_dtype(dtype: str) -> str:
    """The signature's dtype for a Keras dtype: `DT_FLOAT` for "float32"."""
    return {"bool": "DT_BOOL", "int64": "DT_INT64", "float32": "DT_FLOAT", "string": "DT_STRING"}[dtype]


def missing_value(dtype: str) -> float | str:
    """The value that stands for a missing one: NaN for "float32", "" for "string".

    Raises:
        ValueError: The dtype has no such value ("int64", "bool"): the schema must state a default.
    """
    if dtype == "float32":
        return NAN
    if dtype == "string":
        return ""
    raise ValueError(f"no value of {dtype} stands for a missing one: the schema must state a default for the column")


def is_exact_in_float32(minimum: float, maximum: float) -> bool:
    """Whether every integer from `minimum` to `maximum` has a float32 of its own.

    Example:
        >>> is_exact_in_float32(0, 2**24), is_exact_in_float32(0, 2**24 + 1)
        (True, False)
    """
    return minimum >= -FLOAT32_EXACT and maximum <= FLOAT32_EXACT


def plain_values(array: pa.Array) -> pa.Array:
    """Flat values in the type the model sees: ints of any time as int64, decimals as float64, dictionaries decoded.

    Args:
        array: Values of any kind in the table; not a list. Nulls stay nulls.

    Raises:
        pyarrow.ArrowInvalid: A uint64 above the largest int64, or nanoseconds that are no whole microseconds.
    """
    arrow_type = array.type
    if pa.types.is_dictionary(arrow_type):
        return plain_values(array.cast(arrow_type.value_type))
    kind = kind_of(arrow_type)
    if kind.name == "date":
        return array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    if kind.name == "timestamp":
        return array.cast(pa.timestamp("us", tz=arrow_type.tz), safe=False).cast(pa.int64())
    if kind.name == "time":
        target = pa.duration("us") if pa.types.is_duration(arrow_type) else pa.time64("us")
        return array.cast(target, safe=False).cast(pa.int64())
    if kind.name == "integer":
        return array.cast(pa.int64())
    if kind.name == "decimal":
        # By its text: Arrow's direct cast of 0.071 is 0.07100000000000001.
        return array.cast(pa.string()).cast(pa.float64())
    if kind.name == "null" or pa.types.is_float16(arrow_type):
        return array.cast(pa.float64())
    return array


@dataclass(frozen=True)
class ModelInput:
    """One raw column as the model takes it.

    Args:
        name: The exact column name.
        dtype: Keras dtype: "bool", "int64", "float32" or "string".
        shape: Shape of one row's value: () for a scalar, (n,) for n values, (None,) for any number.
        optional: Whether a row may lack it.
        missing: The value that stands for a missing one, where there is one.
        image: Whether its bytes are a PNG's or JPEG's.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] = ()
    optional: bool = False
    missing: float | int | str | bool | None = None
    image: bool = False

    @property
    def signature_dtype(self) -> str:
        """Such as "DT_FLOAT"."""
        return signature_dtype(self.dtype)


def to_numpy(array: pa.Array, model_input: ModelInput) -> np.ndarray[Any, Any]:
    """A column as the model takes it, missing values replaced by the value that stands for them.

    Args:
        array: The column's values, of any Arrow type of the table.
        model_input: What the model takes.

    Returns:
        Shape `(rows,)` for a scalar; `(rows, width)` for a list, padded at the end with the missing value where
        lists are shorter than the input's fixed width, or than the longest list here. Strings are objects.

    Raises:
        ValueError: A value is missing and nothing stands for it, or a list is longer than the fixed width.

    Example:
        >>> to_numpy(pa.array([3, None]), ModelInput("x", "float32", missing=NAN)).tolist()
        [3.0, nan]
    """
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if is_list(array.type) or model_input.shape:
        return _padded(array, model_input)
    return _flat(plain_values(array), model_input)


def _flat(values: pa.Array, model_input: ModelInput) -> np.ndarray[Any, Any]:
    dtype = model_input.dtype
    if values.null_count:
        if model_input.missing is None:
            raise ValueError(
                f"column {model_input.name!r} has {values.null_count} missing values and no value stands for them: "
                f'state one in the schema: feature {{ name: "{model_input.name}" annotation {{ tag: "default=0" }} }}'
            )
        if dtype != "float32" or model_input.missing == model_input.missing:
            values = pc.fill_null(values, pa.scalar(model_input.missing).cast(values.type))
    if dtype == "string":
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=object)
    if dtype == "float32" and pa.types.is_boolean(values.type):
        values = values.cast(pa.float32())
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=dtype)


def _padded(array: pa.Array, model_input: ModelInput) -> np.ndarray[Any, Any]:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    widest = int(lengths.max(initial=0))
    width = model_input.shape[0] if model_input.shape and model_input.shape[0] is not None else widest
    if widest > width:
        row = int(np.argmax(lengths > width))
        raise ValueError(f"column {model_input.name!r}: expected {width} values a row, row {row} has {widest}")
    flat = _flat(plain_values(array.flatten()), model_input)
    fill = (
        model_input.missing
        if model_input.missing is not None
        else {"string": "", "float32": NAN}.get(model_input.dtype, 0)
    )
    padded = np.full((len(array), width), fill, dtype=object if model_input.dtype == "string" else model_input.dtype)
    rows = np.repeat(np.arange(len(array)), lengths)
    starts = np.cumsum(lengths) - lengths
    padded[rows, np.arange(len(flat)) - np.repeat(starts, lengths)] = flat
    return padded


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def name_problems(names: Iterable[str]) -> dict[str, str]:
    """Columns whose name cannot be an input of a SavedModel's signature, each with the reason and the repair.

    TensorFlow makes an input's name a Python argument and, in lower case, a graph node: it silently changes or
    refuses everything else (measured with TensorFlow 2.21, name by name).

    Example:
        >>> name_problems(["distance", "Dep Delay"])
        {'Dep Delay': "it is not letters, digits and '_' beginning with a letter; rename it, for example to dep_delay"}
    """
    listed = list(names)
    problems: dict[str, str] = {}
    lower: dict[str, str] = {}
    for name in tuple(listed):
        if not _NAME.fullmatch(name):
            reason = "it is not letters, digits and '_' beginning with a letter"
        elif keyword.iskeyword(name) or name == "self":
            reason = "it is a word that Python keeps for itself"
        elif name.lower() in lower:
            reason = f"it differs from {lower[name.lower()]!r} only in case"
        else:
            lower[name.lower()] = name
            continue
        suggestion = _suggestion(name, listed)
        listed.append(suggestion)
        problems[name] = f"{reason}; rename it, for example to {suggestion}"
    return problems


def _suggestion(name: str, taken: list[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "column"
    if not plain[0].isalpha() or keyword.iskeyword(plain) or plain == "self":
        plain = f"column_{plain}"
    lower = {other.lower() for other in taken if other != name}
    number = 2
    candidate = plain
    while candidate in lower:
        candidate, number = f"{plain}_{number}", number + 1
    return candidate


def markdown() -> str:
    """The text of `docs/feature-model.md`."""
    head = ("Arrow", "schema", "Keras", "Keras, with missing values", "signature", "JSON", "missing")
    lines = [_INTRODUCTION, f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for kind in KINDS:
        schema = kind.feature_type + (f", {kind.marker}" if kind.marker else "")
        missing = '`""`' if kind.missing == "" else "NaN"
        cells = (kind.arrow, schema, kind.keras_dtype, kind.nullable_dtype, kind.signature_dtype, kind.json, missing)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, _RULES])


_INTRODUCTION = """# The feature model

Made from `transforms/feature_model.py` by `python -m headrace.transforms.feature_model > docs/feature-model.md`.

What a column of the Examples is to the schema, to `preprocessing_fn`, to the exported signature and to a client:
"""

_RULES = f"""
Rules

- A **scalar** column is `(None, 1)` in `preprocessing_fn` and rank 1 in `serving_default`, by the exact column name.
- A **list** is of its elements' kind: `(None, n)` when every row has n values, otherwise `(None, None)`, padded at the
  end with the missing value. A list of lists, a struct and a map are refused: select their parts as columns.
- **Missing** is NaN for floats and `""` for strings. An int (or bool, or date) column with missing values is float32
  with NaN when all its values lie within ±{FLOAT32_EXACT:,} (2^24), where float32 has every integer. Otherwise the
  schema must state a default, which keeps it an int: `feature {{ name: "year" annotation {{ tag: "default=0" }} }}`.
- A column of **bytes** that are all PNG or JPEG images has an `image_domain` in the schema. `DecodeImage` of
  `headrace.transforms.layers` makes pixels of them in the graph; a missing image is no bytes, and its pixels zeros.
- A **missing string and an empty one** are the same to Keras, and share one token: that of `""` where the vocabulary
  has it, because some row holds it, otherwise the one of what is out of vocabulary. A default tells them apart.
- A default may be stated for any column; the column then has its plain Keras dtype and no missing values.
- A **column name** must be ASCII letters, digits and `_`, beginning with a letter, no Python keyword, not `self`, and
  not equal to another but for case: what TensorFlow changes or refuses when it exports a signature is refused early.
- uint64 values above 2^63-1 are refused; decimals and float64 are rounded to float32; timestamps are cut to whole
  microseconds."""


if __name__ == "__main__":
    print(markdown())
