"""Libraries import others that are merely installed, for parts that nobody uses here; this keeps them from it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(module: str) -> Iterator[None]:
    """Makes `import module` raise ImportError inside, unless it is imported already.

    For a library that goes without the module where it is not installed, as it says; only its import belongs inside.

    >>> import sys
    >>> with without("xmlrpc"):
    ...     try:
    ...         import xmlrpc
    ...     except ImportError:
    ...         print("not here")
    not here
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(module) is None:
            sys.modules.pop(module, None)
