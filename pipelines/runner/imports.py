"""What the zygotes import, in which order, and what only when they have nothing to do.

    [] -> [pyarrow] -> [apache_beam] -> [keras]     one zygote a level: ready when its module is there
              |             |              |
              later         later          later    light modules that steps of this level name: imported while it waits

Only the heavy libraries keep a step waiting. Everything else that a component names in `imports` is imported by an idle
zygote beside the steps that run already; a step that comes before it is done imports the rest by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.artifact_types import artifact_class
from headrace.pipelines.optional_imports import without
from headrace.pipelines.plan import Step

HEAVY = ("pyarrow", "apache_beam", "tensorflow", "keras")
"""Libraries that take long to import, the quickest first."""

_KERAS_WRAPPERS = ("keras.wrappers", "keras._tf_keras.keras.wrappers")


@dataclass(frozen=True)
class Level:
    """One zygote's part of the chain.

    Args:
        module: The heavy library that it imports before it serves; "" for none.
        later: What it imports while it waits, in this order.
    """

    module: str
    later: tuple[str, ...] = ()

    def to_json(self) -> list[Any]:
        return [self.module, list(self.later)]

    @classmethod
    def from_json(cls, document: list[Any]) -> Level:
        return cls(document[0], tuple(document[1]))


def imports_of(step: Step) -> tuple[str, ...]:
    """The modules that a step's process is to find imported: those of its component and of its artifacts' types."""
    types = {*dict(step.interface.outputs).values(), *(slot.type for _, slot in step.interface.inputs)}
    return tuple(dict.fromkeys([*step.imports, *(module for name in types for module in artifact_class(name).imports)]))


def import_levels(needed: Sequence[Sequence[str]]) -> list[Level]:
    """Gives the chain in which every step finds a level that holds the heavy libraries it needs.

    >>> for level in import_levels([("keras", "json"), ("pyarrow", "apache_beam"), ()]):
    ...     print(level.module, level.later)
     ()
    pyarrow ()
    apache_beam ()
    keras ('json',)
    """
    wanted = {module for modules in needed for module in modules}
    chain = ["", *(module for module in HEAVY if module in wanted)]
    first: dict[str, int] = {}
    for modules in needed:
        level = _last(chain, modules)
        for module in modules:
            if module not in HEAVY:
                first[module] = min(level, first.get(module, level))
    # A level is forked from the one before as soon as that is ready, so it has none of what that imports later.
    return [
        Level(module, tuple(light for light, level in first.items() if level <= number))
        for number, module in enumerate(chain)
    ]


def level_for(levels: Sequence[Level], imports: Sequence[str]) -> int:
    """The first level that holds the heavy ones of these modules; the last, if none does."""
    return _last([level.module for level in levels], imports)


def _last(chain: Sequence[str], modules: Sequence[str]) -> int:
    heavy = [module for module in modules if module in HEAVY]
    if any(module not in chain for module in heavy):
        return len(chain) - 1
    return max((chain.index(module) for module in heavy), default=0)


def preload(module: str) -> str | None:
    """Imports a heavy library.

    Returns:
        None, or the traceback of why it failed: the step that needs it will fail by the same.
    """
    try:
        with _without_sklearn() if module in ("tensorflow", "keras") else contextlib.nullcontext():
            importlib.import_module(module)
    except Exception:
        return traceback.format_exc()
    return None


def preload_later(module: str) -> None:
    """Imports a light module; what is wrong with it, the step that needs it will say."""
    with contextlib.suppress(Exception):
        importlib.import_module(module)


@contextlib.contextmanager
def _without_sklearn() -> Iterator[None]:
    """Keeps Keras from importing scikit-learn, where it is installed: a fifth of its time, for wrappers that few use.

    The wrappers are there all the same: they are imported, with scikit-learn, when a step first touches them.
    """
    is_there = "sklearn" in sys.modules or "keras" in sys.modules
    with without("sklearn"):
        yield
    if not is_there:
        _forget_keras_wrappers()


def _forget_keras_wrappers() -> None:
    for name in [name for name in sys.modules if name.startswith(("keras.src.wrappers", *_KERAS_WRAPPERS))]:
        del sys.modules[name]
    for name in _KERAS_WRAPPERS:
        parent, _, attribute = name.rpartition(".")
        if hasattr(sys.modules.get(parent), attribute):
            setattr(sys.modules[parent], attribute, _lazy(name))


class _Unread(types.ModuleType):
    """A module that is executed when a name of its own is first asked for.

    `importlib.util.LazyLoader` executes on any attribute: `inspect.getmodule` and TensorFlow's autograph ask every
    module in `sys.modules` for its `__file__`, and so would import them all.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        self.__class__ = types.ModuleType  # type: ignore[assignment]
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(self)
        return getattr(self, name)


def _lazy(name: str) -> Any:
    """A module that is executed when it is first used."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    module = _Unread(name)
    module.__dict__.update(
        __spec__=spec, __file__=spec.origin, __loader__=spec.loader, __package__=spec.parent, __cached__=spec.cached
    )
    if spec.submodule_search_locations is not None:
        module.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = module
    return module
