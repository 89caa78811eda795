"""Types of KFP's IR: which there are, which fits which, and what is a value of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PARAMETER_TYPES = frozenset(
    {"STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT", "TASK_FINAL_STATUS", "TASK_CONFIG"}
)
_NUMBERS = {"NUMBER_INTEGER", "NUMBER_DOUBLE"}
_TITLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_VALUES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


def type_problem(type_: Any, kind: str) -> str | None:
    """Says what is wrong with a declared type."""
    if kind == "parameterType":
        if type_ not in PARAMETER_TYPES:
            return f"expected a parameterType such as STRING, received {type_!r}"
        return None
    if not isinstance(type_, Mapping) or not (type_.get("schemaTitle") or type_.get("instanceSchema")):
        return f"expected an artifactType with a schemaTitle, received {type_!r}"
    title = type_.get("schemaTitle")
    if title is not None and not _TITLE.fullmatch(str(title)):
        return f"expected a schemaTitle such as system.Dataset, received {title!r}"
    return None


def value_problem(value: Any, type_: str) -> str | None:
    """Says why a constant is no value of a parameter's type.

    >>> value_problem("1", "NUMBER_INTEGER"), value_problem(2, "NUMBER_DOUBLE")
    ("expected a value of NUMBER_INTEGER, received '1'", None)
    """
    allowed = _VALUES.get(type_)
    if allowed is None:
        return None
    fits = isinstance(value, allowed) and (isinstance(value, bool) <= (type_ == "BOOLEAN"))
    if fits and type_ == "NUMBER_INTEGER" and not float(value).is_integer():
        fits = False
    return None if fits else f"expected a value of {type_}, received {value!r}"


def parameter_fits(given: str, expected: str) -> bool:
    """Tells whether the driver takes a parameter of one type for one of another: all become text, numbers are one."""
    return given == expected or expected == "STRING" or {given, expected} <= _NUMBERS


def artifact_fits(given: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Tells whether an artifact of one type is one of another."""
    if expected.get("schemaTitle") == "system.Artifact":
        return True
    same_title = given.get("schemaTitle") == expected.get("schemaTitle")
    if not same_title or given.get("instanceSchema") != expected.get("instanceSchema"):
        return False
    majors = [str(type_.get("schemaVersion", "0")).partition(".")[0] for type_ in (given, expected)]
    return majors[0] == majors[1]
