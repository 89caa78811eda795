"""The one execution contract: every backend builds a StepRequest, calls `execute`, and ships the StepResult.

Both are versioned JSON documents. `execute` loads the component's code (and refuses code that differs from the Plan's),
opens the inputs, runs the component, and commits each output by writing its manifest last.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines import own_process, storage
from headrace.pipelines.artifact import Artifact, Manifest
from headrace.pipelines.artifact_types import artifact_class
from headrace.pipelines.cache_key import is_function
from headrace.pipelines.code_made_by import code_made_by
from headrace.pipelines.errors import ArtifactError, HeadraceError, UserCodeError
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.parameter_kinds import annotation_of
from headrace.pipelines.parameter_values import NotAllowed, decode, encode
from headrace.pipelines.step_context import StepContext, enter, leave

if TYPE_CHECKING:
    from headrace.pipelines.component import Component

VERSION = 1


@dataclass(frozen=True)
class ArtifactRef:
    """An artifact as a step's input: where it is, of which type, and the digest it had when the step was planned."""

    uri: str
    type: str
    digest: str


@dataclass(frozen=True)
class StepRequest:
    """Everything a worker needs to run one step.

    Args:
        pipeline, run, step, attempt: Where the step stands.
        component: The component's function.
        inputs: Artifacts by input name; a list where the component takes a list.
        outputs: URI of each output artifact, by name.
        parameters: JSON values by name; a function is ``{"function": {...}}``.
        root: The pipeline root.
        project: The project root, under which user code is found.
        code_path: Folders beside the project that hold code, such as a notebook's captured functions.
        beam_args: Arguments for Beam.
        sample: Rows of each split to read, or None.
        store_url: The store, for steps that may ask it.
        store_root: What the store calls the pipeline root.
    """

    pipeline: str
    run: str
    step: str
    component: FunctionRef
    inputs: Mapping[str, ArtifactRef | list[ArtifactRef]]
    outputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    attempt: int = 1
    root: str = ""
    project: str = ""
    code_path: tuple[str, ...] = ()
    beam_args: tuple[str, ...] = ()
    sample: int | None = None
    store_url: str | None = None
    store_root: str = ""

    def to_json(self) -> str:
        inputs = {name: [*map(vars, it)] if isinstance(it, list) else vars(it) for name, it in self.inputs.items()}
        document = {**vars(self), "headrace_step_request": VERSION, "component": self.component.to_json()}
        return json.dumps(document | {"inputs": inputs}, sort_keys=True)

    def functions(self) -> list[FunctionRef]:
        """The component and every function among the parameters."""
        given = [value["function"] for value in self.parameters.values() if is_function(value)]
        return [self.component, *(FunctionRef.from_json(document) for document in given)]

    def moved(self, root: str) -> StepRequest:
        """The same step under a root that was moved since."""

        def follow(ref: ArtifactRef) -> ArtifactRef:
            return dataclasses.replace(ref, uri=storage.resolve(storage.relative_to_root(ref.uri, self.root), root))

        inputs = {name: [*map(follow, it)] if isinstance(it, list) else follow(it) for name, it in self.inputs.items()}
        return dataclasses.replace(self, root=root, inputs=inputs)

    def with_code_of(self, project: str) -> StepRequest:
        """The same step by the code that a project has now, edited or not."""

        def here(ref: FunctionRef) -> FunctionRef:
            return dataclasses.replace(ref, code_digest=ref.digest(project, self.code_path).digest)

        functions = {
            name: {"function": here(FunctionRef.from_json(value["function"])).to_json()}
            for name, value in self.parameters.items()
            if is_function(value)
        }
        parameters = {**self.parameters, **functions}
        return dataclasses.replace(self, project=project, component=here(self.component), parameters=parameters)

    @classmethod
    def from_json(cls, text: str) -> StepRequest:
        document = _versioned(text, "headrace_step_request")
        inputs = {
            name: [ArtifactRef(**item) for item in entry] if isinstance(entry, list) else ArtifactRef(**entry)
            for name, entry in document.pop("inputs").items()
        }
        component = FunctionRef.from_json(document.pop("component"))
        document |= {name: tuple(document[name]) for name in ("code_path", "beam_args")}
        return cls(component=component, inputs=inputs, **document)


@dataclass(frozen=True)
class OutputRecord:
    """An output that was committed."""

    uri: str
    type: str
    digest: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    size: int = 0

    @classmethod
    def of(cls, uri: str, manifest: Manifest) -> OutputRecord:
        size = sum(entry.size for entry in manifest.files.values())
        return cls(uri, manifest.type, manifest.digest, manifest.properties, manifest.links, manifest.created, size)


@dataclass(frozen=True)
class StepError:
    """Why a step failed: the error's type, its message, the traceback of the user's own code first."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class StepResult:
    """What came of a step.

    Args:
        state: ``"succeeded"``, ``"refused"`` (it worked, and its work was to say no), ``"rejected"`` (it worked, and
            what it looked at stops the run) or ``"failed"``.
        outputs: Committed artifacts by name; one that was not made is absent.
        results: Output parameters by name.
        error: Why it failed.
        refusal: Why it refused.
        warnings: What the user should know.
        seconds: Time the component took.
        peak_rss: Largest resident set of the worker, in bytes.
    """

    state: str
    outputs: Mapping[str, OutputRecord] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    error: StepError | None = None
    refusal: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_rss: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"headrace_step_result": VERSION}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> StepResult:
        document = _versioned(text, "headrace_step_result")
        outputs = {name: OutputRecord(**entry) for name, entry in document.pop("outputs").items()}
        error = document.pop("error")
        warnings = tuple(document.pop("warnings"))
        return cls(outputs=outputs, error=StepError(**error) if error else None, warnings=warnings, **document)


def _versioned(text: str, key: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    version = document.pop(key, None)
    if version != VERSION:
        raise HeadraceError(
            f"expected {key} of version {VERSION}, received {version!r}: image and client differ; build it again"
        )
    return document


def execute(request: StepRequest, report: Callable[[dict[str, Any]], None] = lambda event: None) -> StepResult:
    """Runs one step. Never raises for what the step does: a failure is a StepResult.

    Args:
        request: What to run.
        report: Called with progress and warnings as the step goes.
    """
    try:
        module = own_process.wanted_by(request)
        if module is not None:
            return own_process.run_apart(module, request, report)
    except Exception as error:
        return StepResult("failed", error=describe(error))
    began = time.monotonic()
    context = StepContext(
        pipeline=request.pipeline,
        run=request.run,
        step=request.step,
        attempt=request.attempt,
        root=request.root,
        store_url=request.store_url,
        store_root=request.store_root,
        beam_args=request.beam_args,
        sample=request.sample,
        report=report,
    )
    token = enter(context)
    try:
        outputs, results = _run(request, context)
        result = StepResult(
            _state(context), outputs, results, _rejection(context), context.refusal, tuple(context.warnings)
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        result = StepResult("failed", error=describe(error), warnings=tuple(context.warnings))
    finally:
        leave(token)
        context.close()
    return dataclasses.replace(result, seconds=time.monotonic() - began, peak_rss=peak_rss())


def _state(context: StepContext) -> str:
    if context.rejection is not None:
        return "rejected"
    return "succeeded" if context.refusal is None else "refused"


def _rejection(context: StepContext) -> StepError | None:
    return StepError("Rejected", context.rejection, "") if context.rejection is not None else None


def describe(error: BaseException) -> StepError:
    """Gives an error's own words; of an error in the user's code, the user's traceback comes first."""
    shown = error.__cause__ if isinstance(error, UserCodeError) and error.__cause__ else error
    ours = str(Path(__file__).parent) + os.sep
    trace = shown.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
        trace = trace.tb_next
    lines = traceback.format_exception(type(shown), shown, trace or shown.__traceback__)
    message = str(error) if str(error) else type(error).__name__
    return StepError(type(shown).__name__, message, "".join(lines))


def peak_rss() -> int:
    """Largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _run(request: StepRequest, context: StepContext) -> tuple[dict[str, OutputRecord], dict[str, Any]]:
    component = request.component.load(root=request.project, code_path=request.code_path)
    inputs = {
        name: [_open(item) for item in entry] if isinstance(entry, list) else _open(entry)
        for name, entry in request.inputs.items()
    }
    parameters = {name: _parameter(component, name, value, request) for name, value in request.parameters.items()}
    types = {name: output_class(component, name, inputs, parameters) for name in request.outputs}
    outputs = {name: types[name](uri) for name, uri in request.outputs.items()}
    returned = _call_function(component, inputs, outputs, parameters)
    producer = {"pipeline": request.pipeline, "run": request.run, "step": request.step, "attempt": request.attempt}
    if len(functions := request.functions()) > 1:
        producer["code"] = code_made_by(functions, request.project)
    return commit_outputs(component, outputs, producer, context), results_of(component, returned)


def _call_function(
    component: Component, inputs: Mapping[str, Any], outputs: Mapping[str, Artifact], parameters: Mapping[str, Any]
) -> Any:
    absent = {name: None for name, slot in component.spec.inputs.items() if slot.optional and name not in inputs}
    try:
        return component.function(**absent, **inputs, **outputs, **parameters)
    except HeadraceError:
        raise
    except Exception as error:
        raise UserCodeError(f"{type(error).__name__}: {error}") from error
    except SystemExit as error:
        raise UserCodeError(
            f"{component.spec.name} called sys.exit({error.code!r}); raise an exception instead"
        ) from error


def commit_outputs(
    component: Component, outputs: Mapping[str, Artifact], producer: Mapping[str, Any], context: StepContext
) -> dict[str, OutputRecord]:
    """Makes the outputs that a component wrote exist, each by its manifest.

    Raises:
        ArtifactError: One was neither written nor left out.
    """
    records = {}
    for name, artifact in outputs.items():
        if artifact.manifest is not None:
            records[name] = OutputRecord.of(artifact.uri, artifact.manifest)
        elif not artifact.is_empty():
            records[name] = OutputRecord.of(artifact.uri, artifact.commit({**producer, "output": name}, context.root))
        elif context.refusal is None and component.place != "driver" and not artifact.left_out:
            what = f"{component.spec.name} wrote nothing to its output {name!r}"
            raise ArtifactError(f"{what}\n    fix: write it, or say {name}.leave_out()")
    return records


def _open(ref: ArtifactRef) -> Artifact:
    artifact = artifact_class(ref.type).open(ref.uri)
    if artifact.digest != ref.digest:
        raise ArtifactError(
            f"{ref.uri}: expected digest {ref.digest[:12]}, found {artifact.digest[:12]}: it was changed; run again"
        )
    return artifact


def _parameter(component: Component, name: str, value: Any, request: StepRequest) -> Any:
    spec = component.spec.parameters[name]
    if spec.kind.startswith("function") and isinstance(value, Mapping):
        return FunctionRef.from_json(value["function"]).load(root=request.project, code_path=request.code_path)
    if spec.kind.startswith("files") and value is not None:
        from headrace.pipelines.input_files import files_from_json

        return files_from_json(value)
    return decode(value, spec.annotation)


def output_class(
    component: Component, name: str, inputs: Mapping[str, Any], parameters: Mapping[str, Any]
) -> type[Artifact]:
    """Gives the class of an output; a generic one has that of the input or parameter it follows."""
    spec = component.spec.outputs[name]
    if spec.same_as is None:
        return artifact_class(spec.type)
    given = inputs.get(spec.same_as, parameters.get(spec.same_as))
    if isinstance(given, list):
        given = given[0]
    return given if isinstance(given, type) else type(given)


def results_of(component: Component, returned: Any) -> dict[str, Any]:
    """Gives a component's return value as output parameters by name."""
    names = component.spec.results
    if not names:
        return {}
    if returned is None:
        raise UserCodeError(f"{component.spec.name} declares output parameters {', '.join(names)} and returned None")
    values = {name: _plain(getattr(returned, name)) for name in names}
    try:
        return {name: encode(value, annotation_of(names[name]), name) for name, value in values.items()}
    except NotAllowed as error:
        raise UserCodeError(f"output parameter of {component.spec.name}: {error}") from error


def _plain(value: Any) -> Any:
    """A number of NumPy's as a number of Python's."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
