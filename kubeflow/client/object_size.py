"""How large an object of Kubernetes may be, which is found out before it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from headrace.pipelines.errors import ClusterError

# What etcd takes in one request unless it was told otherwise: --max-request-bytes.
# https://etcd.io/docs/v3.6/dev-guide/limit/
LIMIT = 1536 * 1024
# Kubernetes keeps an object of a type like Argo's as JSON in which Go escapes these.
_ESCAPED = re.compile("[<>&\u2028\u2029]")


def size_of(part: Any) -> int:
    """Bytes of an object, or of a part of one, as Kubernetes keeps it.

    >>> size_of({"a": "<b>"})
    21
    """
    text = json.dumps(part, separators=(",", ":"), ensure_ascii=False)
    return len(_ESCAPED.sub(r"\\u0000", text).encode())


def require_small(body: Mapping[str, Any], what: str) -> None:
    """Refuses an object that Kubernetes could not keep.

    Args:
        body: The object.
        what: What is being done, such as ``"starting flights"``.

    Raises:
        ClusterError: It is larger; with the sizes of what is in it.
    """
    size = size_of(body)
    if size <= LIMIT:
        return
    spec = body["spec"].get("workflowSpec", body["spec"])
    parts = {f"step {one.get('name')}": size_of(one) for one in spec.get("templates") or () if "container" in one}
    said = f", {len(parts):,} steps of {sum(parts.values()) // len(parts):,} bytes on average" if parts else ""
    given = (spec.get("arguments") or {}).get("parameters") or ()
    parts |= {f"parameter {one.get('name')}": size_of(one) for one in given}
    largest = ", ".join(f"{name} with {parts[name]:,}" for name in sorted(parts, key=lambda name: -parts[name])[:3])
    raise ClusterError(
        f"{what}: {size:,} bytes is too large a file: Kubernetes keeps an object in etcd, which takes {LIMIT:,}{said}; "
        f"the largest are {largest}",
        "write long constants and parameters to a file or an object store and pass its URL, or make several pipelines "
        "of it that hand over in the pipeline root",
    )
