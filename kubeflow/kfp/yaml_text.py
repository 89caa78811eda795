"""Documents of KFP's IR as YAML, in block style, keys sorted, one line a value.

A string is quoted unless every reader takes it for one: PyYAML, which knows YAML 1.1, and Go's library of KFP's server,
which knows 1.2, differ on `no`, `1e3`, `0o17` and `2024-01-01`. PyYAML itself writes plain what Go takes for a number,
and its two writers, the one in C and the one in Python, differ in empty keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.kubeflow.argo.yaml_text import scalar


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """Writes documents of mappings, lists, strings, numbers, booleans and None; equal ones give equal bytes.

    >>> print(yaml_text({"b": "no", "a": ["1e3", True, [2.0, []], None]}), end="")
    a:
    - "1e3"
    - true
    - - 2.0
      - []
    - null
    b: "no"
    """
    return "---\n".join("".join(f"{line}\n" for line in _lines(document)) for document in documents)


def _lines(value: Any) -> Iterator[str]:
    """The lines of a mapping or a list that is not empty, or the one line of anything else."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            item = value[key]
            if not isinstance(item, Mapping | list) or not item:
                yield f"{scalar(key)}: {_leaf(item)}"
                continue
            yield f"{scalar(key)}:"
            # A list's hyphens are indent enough.
            indent = "" if isinstance(item, list) else "  "
            for line in _lines(item):
                yield indent + line
    elif isinstance(value, list) and value:
        for item in value:
            before = "- "
            for line in _lines(item):
                yield before + line
                before = "  "
    else:
        yield _leaf(value)


def _leaf(value: Any) -> str:
    if isinstance(value, str):
        return scalar(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        # YAML 1.1 knows no number with an exponent and no point.
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list):
        return "[]"
    raise TypeError(f"expected a value of JSON, received {value!r}")
