"""YAML that every reader takes alike: PyYAML, which knows YAML 1.1, and Go's library of KFP's server, which knows 1.2.

What one takes for a string and the other for a number, a boolean or a date (`no`, `1e3`, `0o17`, `2024-01-01`) is
quoted, as is all that is not a plain name.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"])
# The C writer takes a tenth of the time; both write the same.
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _is_plain(text) else '"')


@functools.lru_cache(maxsize=10_000)
def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


_Dumper.add_representer(str, _string)


def yaml_text(*documents: Any) -> str:
    """Writes documents: keys sorted, ASCII, a scalar on one line.

    >>> print(yaml_text({"b": "no", "a": ["1e3", True, 2]}), end="")
    a:
    - "1e3"
    - true
    - 2
    b: "no"
    """
    text: str = yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=True, width=2**31 - 1, allow_unicode=False, default_flow_style=False
    )
    return text
