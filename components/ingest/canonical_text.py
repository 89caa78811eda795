"""The text of a typed value, so that rows of Parquet or SQL are split by the same rule as the cells of a CSV file.

| type                       | text                                                                                    |
|----------------------------|-----------------------------------------------------------------------------------------|
| null                       | empty, as an absent cell in CSV                                                         |
| string, binary             | itself                                                                                  |
| bool                       | `true`, `false`                                                                         |
| integer                    | decimal digits: the same for every width                                                |
| float                      | an integral value below 2**53 as that integer, others the shortest text that reads back |
| decimal                    | its digits with its scale                                                               |
| date                       | `YYYY-MM-DD`                                                                            |
| timestamp                  | `YYYY-MM-DD hh:mm:ss.ffffff`, in UTC with `Z` if it has a zone: the same for each unit  |
| list of these              | the texts of its items joined by `,`                                                    |
| struct, map, list of lists | JSON                                                                                    |

So int32 to int64, int to float and milliseconds to microseconds move no row to another split.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_EXACT = float(2**53)


def canonical_text(array: pa.Array) -> pa.Array:
    """The text of every value, by the table above.

    Args:
        array: Arrow array of n values of any type.

    Returns:
        String or binary array of n texts without nulls.

    >>> canonical_text(pa.array([1.0, 0.5, None])).to_pylist()
    ['1', '0.5', '']
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return canonical_text(array.dictionary_decode())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return array.cast(pa.large_binary()).fill_null(b"")
    if pa.types.is_floating(kind):
        text = _float_text(array.cast(pa.float64()))
    elif pa.types.is_timestamp(kind):
        text = array.cast(pa.timestamp("us", kind.tz and "UTC"), safe=False).cast(pa.string())
    elif pa.types.is_date(kind):
        text = array.cast(pa.date32()).cast(pa.string())
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        text = _list_text(array)
    elif pa.types.is_null(kind):
        text = pa.nulls(len(array), pa.string())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = array
    elif pa.types.is_nested(kind):
        text = _json_text(array)
    else:
        text = array.cast(pa.string())
    return text.fill_null("") if text.null_count else text


def _float_text(array: pa.Array) -> pa.Array:
    values = array.fill_null(0.0).to_numpy(zero_copy_only=False)
    integral = (values == np.floor(values)) & (np.abs(values) < _EXACT)
    whole = pa.array(np.where(integral, values, 0.0).astype(np.int64)).cast(pa.string())
    if integral.all():
        text = whole
    else:
        text = pc.if_else(pa.array(integral), whole, array.cast(pa.string()))
    return pc.if_else(array.is_null(), pa.scalar(None, pa.string()), text) if array.null_count else text


def _list_text(array: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    if pa.types.is_nested(array.type.value_type):
        return _json_text(array)
    items = canonical_text(array.flatten())
    if not pa.types.is_string(items.type):
        items = items.cast(pa.binary())
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    separator = pa.scalar("," if pa.types.is_string(items.type) else b",", items.type)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, items), separator)


def _json_text(array: pa.Array) -> pa.Array:
    return pa.array([json.dumps(value, sort_keys=True, default=str) for value in array.to_pylist()], pa.string())
