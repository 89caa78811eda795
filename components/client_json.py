"""Bytes in the JSON that a client of a model server writes."""

from __future__ import annotations

import base64


def bytes_as_json(value: bytes) -> str | dict[str, str]:
    """A string's bytes as text; as ``{"b64": ...}`` where they are none, as TensorFlow Serving's REST API takes them.

    >>> bytes_as_json("gull".encode()), bytes_as_json(b"\\xff")
    ('gull', {'b64': '/w=='})
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
