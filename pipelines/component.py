"""`@component`: a typed function becomes a component. Calling it records a step; `.call(..., out_dir=)` runs it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from headrace.pipelines.channels import author_location
from headrace.pipelines.component_spec import parse
from headrace.pipelines.errors import Problem
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.recorded_step import RECORDING, RecordedStep

if TYPE_CHECKING:
    from headrace.pipelines.completion import Complete

Check = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]


class Component:
    """A function made into a component. Calling it records a step.

    Attributes:
        spec: Its interface.
        function: The function itself.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        imports: tuple[str, ...] = (),
        place: str = "worker",
        check: Check | None = None,
        complete: Complete | None = None,
        process: str | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.spec = parse(function, name)
        self.imports = tuple(imports)
        self.place = place
        self.check = check
        self.complete = complete
        self.process = process

    def ref(self, root: str | None = None) -> FunctionRef:
        return FunctionRef.of(self.function, root=root)

    def __call__(self, *args: Any, **kwargs: Any) -> RecordedStep:
        step = RecordedStep(self, dict(kwargs), author_location())
        if any(value is ... for value in (*args, *kwargs.values())):
            what = f"{self.spec.name}(...) still has a placeholder"
            step.problems.append(Problem(what, "write the argument in its place", step.location, "placeholder"))
        elif args:
            names = ", ".join(f"{name}=" for name in [*self.spec.inputs, *self.spec.parameters][: len(args)])
            step.problems.append(
                Problem(f"{self.spec.name} takes arguments by name only", f"write {names}", step.location, "argument")
            )
        recording = RECORDING.get()
        if recording is not None:
            recording.append(step)
        return step

    def call(self, *, out_dir: str | Path, **kwargs: Any) -> Any:
        """Runs the component here and now, for a unit test.

        Args:
            out_dir: Folder under which its outputs are written.
            **kwargs: Artifacts for its inputs, plain values for its parameters.

        Returns:
            An object with one attribute per output and output parameter.

        Raises:
            Whatever the component raises.
        """
        from headrace.pipelines.component_call import call_component

        return call_component(self, Path(out_dir), kwargs)

    def __repr__(self) -> str:
        return f"<component {self.spec.name}>"


@overload
def component(function: Callable[..., Any], /) -> Component: ...
@overload
def component(
    *,
    name: str | None = None,
    imports: tuple[str, ...] = (),
    place: str = "worker",
    check: Check | None = None,
    complete: Complete | None = None,
    process: str | None = None,
) -> Callable[[Callable[..., Any]], Component]: ...
def component(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    imports: tuple[str, ...] = (),
    place: str = "worker",
    check: Check | None = None,
    complete: Complete | None = None,
    process: str | None = None,
) -> Component | Callable[[Callable[..., Any]], Component]:
    """Makes a typed function into a component.

    Args:
        function: Takes `Input[...]` and `Output[...]` artifacts and plain typed arguments; returns None, or a
            NamedTuple or dataclass of output parameters.
        name: The component's name, if not the function's.
        imports: Modules that its worker is to have imported before it starts, such as ``("keras",)``.
        place: ``"driver"`` for a component that only asks the store.
        check: Called when a pipeline is built with the arguments as given; yields (what is wrong, what to do) for
            arguments that do not go together.
        complete: Called when a pipeline is built with the step and all others; gives the steps that are added to the
            pipeline for it, as `Pusher` adds its gates (`headrace.pipelines.completion.Completion`).
        process: A module that says which functions need a process of their own, and prepares it
            (`headrace.pipelines.own_process`).

    >>> from headrace.pipelines import Examples, HyperParameters, Input, Output
    >>> @component
    ... def Count(examples: Input[Examples], counts: Output[HyperParameters], *, split: str = "train") -> None:
    ...     counts.write({"rows": examples.read(split).num_rows})
    >>> Count.spec.name
    'Count'
    """
    if function is not None:
        return Component(function)
    return lambda decorated: Component(
        decorated, name=name, imports=imports, place=place, check=check, complete=complete, process=process
    )
