"""Which extra of this distribution brings a module that is not installed."""

from __future__ import annotations

import importlib.metadata
import re

from headrace.pipelines.errors import MissingExtra

# Modules whose distribution is not called as they are.
_DISTRIBUTIONS = {"PIL": "pillow", "google.protobuf": "protobuf", "yaml": "pyyaml"}


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """Gives the error that names the extra to install, None for a module that no extra brings.

    >>> str(missing_extra(ModuleNotFoundError("No module named 'duckdb'", name="duckdb")))
    "duckdb is not installed: pip install 'headrace[run]'"
    >>> missing_extra(ModuleNotFoundError("No module named 'lib'", name="lib")) is None
    True
    """
    module = error.name or ""
    module = module if module in _DISTRIBUTIONS else module.partition(".")[0]
    extra = extra_of(module)
    return MissingExtra(extra, module) if extra else None


def extra_of(module: str) -> str | None:
    """Looks a module up in what the installed distribution says of its extras; `run` where several bring it."""
    wanted = _DISTRIBUTIONS.get(module, module).replace("_", "-").lower()
    found = []
    for requirement in importlib.metadata.requires("headrace") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if name and extra and name[0].replace("_", "-").lower() == wanted:
            found.append(extra[1])
    users = [extra for extra in found if extra != "dev"]
    return "run" if "run" in users else next(iter(users), None)
