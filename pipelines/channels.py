"""What stands for a value while a pipeline is written: a step's output, or a parameter of the pipeline."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from headrace.pipelines import plan
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.parameter_kinds import Kind, annotation_of

if TYPE_CHECKING:
    from headrace.pipelines.recorded_step import RecordedStep

_OURS = str(Path(__file__).parent) + os.sep
_STDLIB = str(Path(os.__file__).parent) + os.sep


def author_location() -> Location:
    """The innermost line that is neither Headrace's own nor the standard library's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and is_nobodys(frame.f_code.co_filename):
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno)


def is_nobodys(file: str) -> bool:
    """Tells whether a file is of Headrace or the standard library, and so no line that an author can change."""
    return file.startswith((_OURS, "<frozen")) or (file.startswith(_STDLIB) and "-packages" not in file)


class NoValueYet(PipelineError):
    """The author's code asked for the value of what has none while the pipeline is written."""


class Unknown:
    """Refuses, with the author's line, whatever would ask for a value that is known only when the pipeline runs."""

    def said(self) -> str:
        """What a message calls it."""
        raise NotImplementedError

    def _refuse(self, cannot: str, instead: str) -> NoReturn:
        what = f"{self.said()} has no value while the pipeline is written: it cannot {cannot}"
        raise NoValueYet(Problem(what, instead, author_location(), "no-value-yet"))

    def __bool__(self) -> bool:
        self._refuse("decide an `if`, `and`, `or` or `not`", "decide inside a component")

    def __eq__(self, other: object) -> bool:
        return self is other or self._refuse("be compared", "compare inside a component")

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, spec: str) -> str:
        self._refuse("be put into a string", "pass it as an argument and format inside a component")

    def __str__(self) -> str:
        self._refuse("be put into a string", "pass it as an argument and format inside a component")

    def __iter__(self) -> Iterator[Any]:
        self._refuse("be looped over", "loop inside a component")

    def _compute(self, *_: object) -> NoReturn:
        self._refuse("be computed with", "compute inside a component, and pass what it returns")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _compute
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __abs__ = _compute
    __lt__ = __le__ = __gt__ = __ge__ = __and__ = __rand__ = __or__ = __ror__ = __invert__ = _compute
    __int__ = __float__ = __index__ = __len__ = __getitem__ = __fspath__ = _compute


@dataclass(frozen=True, eq=False, repr=False)
class OutputChannel(Unknown):
    """What a step will produce, as another step's argument.

    Args:
        producer: The step.
        name: The output's name.
        type: Its artifact type, or the kind of an output parameter.
        is_result: Whether it is an output parameter.
        problem: What is wrong with it, when the step declares no such output.
    """

    producer: RecordedStep
    name: str
    type: str
    is_result: bool = False
    problem: Problem | None = None

    def said(self) -> str:
        return f"{self.producer.id}.{self.name}"

    def __repr__(self) -> str:
        return f"<channel {self.said()}: {self.type}>"

    def value(self) -> plan.Channel:
        return plan.Channel(self.producer.id, self.name)


@dataclass(frozen=True, eq=False)
class PipelineParameter(Unknown):
    """A run-time parameter of a pipeline, as a step's argument.

    In the notation `Pipeline(components=[...])` make one by hand; a `@pipeline` function's arguments are made into
    them.

    Args:
        name: The name that `-p name=value` sets.
        type: Its type.
        default: Its default; without one the run must give it.
    """

    name: str
    type: Any = str
    default: Any = ...

    @property
    def annotation(self) -> Any:
        return annotation_of(self.type) if isinstance(self.type, Kind) else self.type

    def said(self) -> str:
        return f"parameter {self.name!r}"


class Outputs(Mapping[str, OutputChannel]):
    """A recorded step's outputs by name."""

    def __init__(self, step: RecordedStep) -> None:
        self.step = step

    def __getitem__(self, name: str) -> OutputChannel:
        step, spec = self.step, self.step.component.spec
        if name in spec.outputs:
            return OutputChannel(step, name, step.output_type(spec.outputs[name]))
        if name in spec.results:
            return OutputChannel(step, name, spec.results[name], is_result=True)
        near = difflib.get_close_matches(name, list(self), 1, 0.5)
        fix = f"use {near[0]!r}" if near else "declare it as an Output[...] argument of the component"
        what = f"{spec.name} declares no output {name!r}; it has {', '.join(self) or 'none'}"
        problem = Problem(what, fix, author_location(), "output")
        return OutputChannel(step, name, "Artifact", problem=problem)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __iter__(self) -> Iterator[str]:
        return iter([*self.step.component.spec.outputs, *self.step.component.spec.results])

    def __len__(self) -> int:
        return len(list(iter(self)))


def channels_within(value: Any) -> Iterator[OutputChannel]:
    """Yields every channel in an argument, however deep in lists, dicts and dataclasses."""
    for item in unknowns_within(value):
        if isinstance(item, OutputChannel):
            yield item


def unknowns_within(value: Any) -> Iterator[OutputChannel | PipelineParameter]:
    """Yields every channel and parameter in an argument."""
    value = fields_of(value)
    if isinstance(value, OutputChannel | PipelineParameter):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from unknowns_within(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from unknowns_within(item)


def fields_of(value: Any) -> Any:
    """Gives a dataclass argument, such as Filesystem(base_directory=parameter), as a dict of its fields."""
    import dataclasses

    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type | Unknown)
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)} if is_record else value
