"""`@pipeline` and `Pipeline`: two notations that are traced, checked and lowered to one Plan."""

from __future__ import annotations

import ast
import functools
import heapq
import inspect
import linecache
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from headrace.pipelines import plan
from headrace.pipelines.channels import PipelineParameter, author_location, unknowns_within
from headrace.pipelines.completion import completed
from headrace.pipelines.component_spec import kind_of
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.function_ref import FunctionRef, project_root
from headrace.pipelines.parameter_values import NotAllowed, encode
from headrace.pipelines.plan_checks import check, cycles
from headrace.pipelines.recorded_step import RECORDING, RecordedStep

if TYPE_CHECKING:
    from headrace.pipelines.component import Component
    from headrace.pipelines.runs import Run


class Pipeline:
    """A pipeline as a list of recorded steps. Their order in the list does not matter.

    Args:
        name: The pipeline's name.
        components: Every step of it.
        root: The project root; by default the nearest folder above the author's file with a pyproject.toml, setup.py or
            .git.

    Raises:
        PipelineError: With every problem of the pipeline at once.
    """

    def __init__(
        self, name: str = "pipeline", components: Sequence[RecordedStep] = (), *, root: str | None = None
    ) -> None:
        self.name = name
        self.location = author_location()
        self.root = root or str(project_root(self.location.file))
        self.plan = build(name, components, self.location, self.root)

    def run(self, **options: Any) -> Run:
        """Runs the pipeline on this machine; see `headrace.pipelines.runner.run` for the options."""
        from headrace.pipelines.runner import run

        return run(self.plan, **options)

    def _repr_html_(self) -> str:
        return self.plan._repr_html_()


class PipelineFunction:
    """A function made into a pipeline by `@pipeline`; its arguments are the pipeline's run-time parameters."""

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name or function.__name__
        self.location = Location(inspect.getsourcefile(function) or "<unknown>", function.__code__.co_firstlineno)

    @functools.cached_property
    def plan(self) -> plan.Plan:
        """The Plan with the defaults of the signature."""
        return self().plan

    def __call__(self, **defaults: Any) -> Pipeline:
        """Traces the function.

        Args:
            **defaults: Values that replace the signature's defaults.

        Raises:
            PipelineError: With every problem of the pipeline at once.
        """
        parameters, problems = self._parameters(defaults)
        if RECORDING.get() is not None:
            what = f"pipeline {self.name} is called while another pipeline is written: a step cannot be a pipeline"
            fix = "make it a plain function of steps, without @pipeline, and call that"
            raise PipelineError(Problem(what, fix, author_location(), "sub-pipeline"))
        recording: list[RecordedStep] = []
        token = RECORDING.set(recording)
        try:
            self.function(**parameters)
        finally:
            RECORDING.reset(token)
        traced = Pipeline.__new__(Pipeline)
        traced.name, traced.location = self.name, self.location
        traced.root = str(project_root(self.location.file))
        traced.plan = build(self.name, recording, self.location, traced.root, parameters.values(), problems)
        return traced

    def run(self, **options: Any) -> Run:
        """Traces the function and runs the pipeline on this machine."""
        return self().run(**options)

    def _parameters(self, given: Mapping[str, Any]) -> tuple[dict[str, PipelineParameter], list[Problem]]:
        problems = []
        parameters = {}
        signature = inspect.signature(self.function, eval_str=True)
        for name, argument in signature.parameters.items():
            hint = Any if argument.annotation is inspect.Parameter.empty else argument.annotation
            default = given.get(name, ... if argument.default is inspect.Parameter.empty else argument.default)
            if argument.annotation is inspect.Parameter.empty:
                what = f"parameter {name!r} of pipeline {self.name} has no type"
                problems.append(
                    Problem(what, f"write {name}: int, str, float, bool, list or dict", self.location, "signature")
                )
            parameters[name] = PipelineParameter(name, hint, default)
        for name in sorted(set(given) - set(signature.parameters)):
            what = f"pipeline {self.name} has no parameter {name!r}; it has {', '.join(signature.parameters) or 'none'}"
            problems.append(Problem(what, "", self.location, "unknown-argument"))
        return parameters, problems

    def _repr_html_(self) -> str:
        return self.plan._repr_html_()


@overload
def pipeline(function: Callable[..., Any], /) -> PipelineFunction: ...
@overload
def pipeline(*, name: str | None = None) -> Callable[[Callable[..., Any]], PipelineFunction]: ...
def pipeline(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None
) -> PipelineFunction | Callable[[Callable[..., Any]], PipelineFunction]:
    """Makes a function that calls components into a pipeline.

    Args:
        function: Calls components; its typed arguments are the run-time parameters, set by `-p name=value`.
        name: The pipeline's name, if not the function's.

    >>> @pipeline                                                    # doctest: +SKIP
    ... def taxi(data: str = "data/", epochs: int = 1):
    ...     examples = CsvExampleGen(input_base=data)
    ...     StatisticsGen(examples=examples.outputs["examples"])
    """
    if function is not None:
        return PipelineFunction(function)
    return lambda decorated: PipelineFunction(decorated, name)


def build(
    name: str,
    recorded: Sequence[RecordedStep],
    location: Location,
    root: str,
    parameters: Any = (),
    problems: Sequence[Problem] = (),
) -> plan.Plan:
    """trace -> complete -> check -> lower: gives the Plan, or raises every problem that was found."""
    steps = [item for item in dict.fromkeys(recorded) if isinstance(item, RecordedStep)]
    found = [*problems, *_wrong_name(name, location), *_not_steps(recorded, location)]
    found += _duplicates(steps) + _not_listed(steps)
    steps, notes = completed(steps)
    declared = _declared_parameters(parameters, steps, found, location)
    lowered: list[plan.Step] = []
    refs: dict[Component, FunctionRef] = {}
    for step in steps:
        node, wrong = step.lower(root, refs)
        found += wrong
        if node is not None:
            lowered.append(node)
    locations = {step.id: step.location for step in steps}
    if not found:
        found += check(lowered, declared, locations, location)
    elif len({step.id for step in lowered}) == len(lowered):
        found += cycles(lowered, locations, location)
    # An argument that is still to be written is told when nothing else is wrong.
    found = [problem for problem in found if problem.code != "placeholder"] or found
    if found:
        raise PipelineError(sorted(dict.fromkeys(found), key=lambda problem: (problem.where or location).line))
    return plan.Plan(name, tuple(in_order(lowered)), declared, locations | {"": location}, root, tuple(notes))


def _wrong_name(name: str, location: Location) -> list[Problem]:
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        return []
    what = f"expected a pipeline's name of letters, digits, '_', '-' and '.', received {name!r}"
    return [Problem(what, "choose another: it names folders and runs", location, "name")]


def _not_steps(recorded: Sequence[Any], location: Location) -> list[Problem]:
    fix = "list what calling a component returned"
    problems = [
        Problem(f"components holds {_said(item)}, which is no step", fix, location, "step")
        for item in recorded
        if not isinstance(item, RecordedStep)
    ]
    return problems if recorded else [Problem("the pipeline has no steps", "call a component", location, "empty")]


def _said(item: object) -> str:
    called = getattr(item, "spec", None)
    return f"the component {called.name} itself" if called is not None else repr(item)


def in_order(steps: Sequence[plan.Step]) -> list[plan.Step]:
    """Orders steps by their channels, and by id where the channels leave it open."""
    waiting = {step.id: set(step.upstream()) for step in steps}
    by_id = {step.id: step for step in steps}
    ready = [id_ for id_, upstream in waiting.items() if not upstream]
    heapq.heapify(ready)
    downstream: dict[str, list[str]] = {}
    for step in steps:
        for up in step.upstream():
            downstream.setdefault(up, []).append(step.id)
    ordered = []
    while ready:
        id_ = heapq.heappop(ready)
        ordered.append(by_id[id_])
        for down in downstream.get(id_, ()):
            waiting[down].discard(id_)
            if not waiting[down]:
                heapq.heappush(ready, down)
    return ordered


def _duplicates(steps: Sequence[RecordedStep]) -> list[Problem]:
    problems = []
    counted = Counter(step.id for step in steps)
    for id_, count in counted.items():
        if count > 1:
            same = [step for step in steps if step.id == id_]
            lines = " and ".join(str(step.location) for step in same)
            fix = f'name one of them: {same[1].component.spec.name}(...).with_id("{id_}_2")'
            problems.append(
                Problem(f"{count} steps are called {id_!r}: {lines}", fix, same[1].location, "duplicate-id")
            )
    return problems


def _not_listed(steps: Sequence[RecordedStep]) -> list[Problem]:
    problems = []
    listed = set(steps)
    for step in steps:
        for producer in step.producers():
            if producer not in listed:
                name = assigned_name(producer.location) or producer.id
                fix = f"add {name} to components"
                problems.append(
                    Problem(f"{name} is used by {step.id} but not in components", fix, producer.location, "not-listed")
                )
    return problems


def assigned_name(location: Location) -> str | None:
    """The variable that the statement at a line assigns, so that a message can use the author's word."""
    try:
        tree = ast.parse("".join(linecache.getlines(location.file)))
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        inside = isinstance(node, ast.Assign) and node.lineno <= location.line <= (node.end_lineno or node.lineno)
        if inside and isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            return node.targets[0].id
    return None


def _declared_parameters(
    given: Any, steps: Sequence[RecordedStep], problems: list[Problem], location: Location
) -> tuple[plan.PlanParameter, ...]:
    """The pipeline's parameters: those given, and those that steps of the list notation use."""

    by_name: dict[str, PipelineParameter] = {parameter.name: parameter for parameter in given}
    for step in steps:
        for used in unknowns_within(step.bound):
            if isinstance(used, PipelineParameter):
                first = by_name.setdefault(used.name, used)
                if (kind_of(first.type), first.default) != (kind_of(used.type), used.default):
                    what = f"parameter {used.name!r} is declared twice, and not in the same way"
                    problems.append(Problem(what, "make one PipelineParameter and pass it", step.location, "parameter"))
    declared = []
    for name, parameter in sorted(by_name.items()):
        entry = plan.PlanParameter(name, kind_of(parameter.type), None, parameter.default is ...)
        if not entry.required:
            try:
                entry = replace(entry, default=encode(parameter.default, parameter.annotation))
            except NotAllowed as error:
                problems.append(Problem(f"default of parameter {name!r}: {error}", error.fix, location, "argument"))
        declared.append(entry)
    return tuple(declared)
