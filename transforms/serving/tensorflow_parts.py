"""The parts of TensorFlow that a server needs, without the rest of `import tensorflow`.

`import tensorflow` makes the whole API, of which a server that runs graphs uses little. A process that begins with
`prepare` imports `tensorflow.python...` and `tensorflow.core...` by themselves, in a third of the time; what asks
`tensorflow` itself for a name then gets all of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_PACKAGE = "tensorflow"


def prepare() -> None:
    """Lets parts of TensorFlow be imported without the whole; does nothing where that is imported, or there is none."""
    if _PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        package = _Parts(_PACKAGE)
        package.__path__ = list(spec.submodule_search_locations)
        package.__file__, package.__spec__ = spec.origin, spec
        sys.modules[_PACKAGE] = package


class _Parts(ModuleType):
    """Stands for the package until somebody asks it for a name that no part has set."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_PACKAGE) is self:
            del sys.modules[_PACKAGE]
        return getattr(importlib.import_module(_PACKAGE), name)
