"""How a run is asked for, and who is told of it as it goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from headrace.pipelines import storage
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.parameter_kinds import annotation_of
from headrace.pipelines.parameter_values import NotAllowed, encode, parse_text
from headrace.pipelines.plan import Group, Plan, PlanParameter, Settings
from headrace.pipelines.runs import EMBEDDED, Run, StepRun

HOME = ".headrace"
# What of a step's settings a local run holds to, and what is a question of the cluster a pipeline is compiled for. Of
# the others, a step sees what they give: a variable or a mounted folder, which this machine must then have.
LOCAL_SETTINGS = ("retries", "timeout", "cache", "env", "beam_args")
CLUSTER_SETTINGS = (
    *("retry_wait", "cpu", "memory", "storage", "gpu", "gpu_type", "image"),
    *("node_selector", "tolerations", "labels", "annotations"),
)


class Place(NamedTuple):
    """Where a run keeps what it makes.

    Attributes:
        root: The pipeline root.
        recorded_root: What the store calls it.
        store: URL of the store.
    """

    root: str
    recorded_root: str
    store: str


@dataclass(frozen=True)
class RunOptions:
    """Options of a local run.

    Args:
        parameters: Values of the pipeline's parameters by name.
        root: Pipeline root: a folder or fsspec URL. By default `.headrace` in the project root.
        store: URL of the store. By default a SQLite file in the root, or in the project's `.headrace` when the root is
            remote.
        cache: Whether results of earlier runs may be taken.
        sample: Rows of each split to read, or None for all.
        jobs: Steps at a time; by default one for each core.
        debug: True, or a step's id: run steps in this process, so that `breakpoint()` works.
        isolation: ``"fork"`` or ``"spawn"``; by default fork, and spawn where fork is not safe.
        beam_args: Arguments for Beam, such as ``("--runner=FlinkRunner",)``.
        experiment: A name to find the run by.
        report: Whether to write report.html.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    root: str | os.PathLike[str] | None = None
    store: str | None = None
    cache: bool = True
    sample: int | None = None
    jobs: int | None = None
    debug: bool | str = False
    isolation: str = "spawn" if sys.platform == "darwin" else "fork"
    beam_args: tuple[str, ...] = ()
    experiment: str = ""
    report: bool = True

    def root_for(self, plan: Plan) -> str:
        return storage.normalize(self.root or Path(plan.root or ".") / HOME)

    def home_for(self, plan: Plan) -> Path:
        """The local folder for logs and, by default, the store."""
        root = self.root_for(plan)
        return storage.local_path(root) if storage.is_local(root) else Path(plan.root or ".").absolute() / HOME

    def store_for(self, plan: Plan) -> str:
        return self.store or str(self.home_for(plan) / "store.db")

    def recorded_root_for(self, plan: Plan) -> str:
        """What the store calls the root."""
        root = self.root_for(plan)
        inside = storage.is_local(root) and storage.normalize(self.store_for(plan)) == storage.join(root, "store.db")
        return EMBEDDED if inside else root

    def place_for(self, plan: Plan) -> Place:
        """Where a run of the Plan keeps what it makes."""
        return Place(self.root_for(plan), self.recorded_root_for(plan), self.store_for(plan))

    @property
    def scope(self) -> str:
        return f"sample-{self.sample}" if self.sample is not None else ""


class Listener:
    """Told of a run as it goes; the base class says nothing."""

    def run_started(self, run_id: str, plan: Plan) -> None: ...
    def step_started(self, step: str, reason: str, attempt: int) -> None: ...
    def step_progress(self, step: str, progress: Mapping[str, Any]) -> None: ...
    def step_finished(self, step: StepRun) -> None: ...
    def step_retried(self, step: str, error: Mapping[str, Any]) -> None: ...
    def run_finished(self, run: Run) -> None: ...
    def warned(self, message: str) -> None: ...


def check_runnable(plan: Plan) -> None:
    """Refuses what a local run cannot honour, rather than ignoring it.

    Raises:
        PipelineError: With every such setting and node.
    """
    problems = []
    for node in plan.nodes:
        if isinstance(node, Group):
            what = f"{node.id}: a local run does not know nodes of kind {node.kind!r} yet"
            problems.append(
                Problem(what, "compile the pipeline to a target that does", plan.locations.get(node.id), "unsupported")
            )
    for step in plan.steps:
        problems += [
            Problem(f"{step.id}: {what}", fix, plan.locations.get(step.id), "unsupported")
            for what, fix in _lacking(step.settings)
        ]
    if problems:
        raise PipelineError(problems)


def _lacking(settings: Settings) -> Iterator[tuple[str, str]]:
    """What a cluster would give a step and this machine does not have."""
    for name in ("secrets", "config_maps", "pod_fields"):
        for variable, source in getattr(settings, name):
            if variable not in os.environ and variable not in dict(settings.env):
                what = f"the setting {name!r} gives it {variable} from {source!r}, which only a cluster has"
                yield what, f"to run it here, set it yourself: export {variable}=..."
    for path, source in settings.volumes:
        if not Path(path).is_dir():
            yield f"the setting 'volumes' gives it {path} from {source!r}, which only a cluster has", f"mkdir -p {path}"


def cluster_only(plan: Plan) -> list[str]:
    """Says, a line for each setting, what a local run does not hold to: it has one machine as it is."""
    set_by: dict[str, list[str]] = {}
    for step in plan.steps:
        for name in step.settings.to_json():
            if name in CLUSTER_SETTINGS:
                set_by.setdefault(name, []).append(step.id)
    return [f"{name} ({', '.join(steps)}) counts in a cluster only" for name, steps in sorted(set_by.items())]


def resolve_parameters(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Gives every parameter of the pipeline its value.

    Raises:
        PipelineError: One is unknown, missing, or of another type.
    """
    by_name = {parameter.name: parameter for parameter in plan.parameters}
    problems = []
    for name in given.keys() - by_name.keys():
        fix = f"it has {', '.join(by_name) or 'none'}"
        problems.append(
            Problem(f"pipeline {plan.name} has no parameter {name!r}", fix, plan.locations.get(""), "parameter")
        )
    values = {}
    for name, parameter in by_name.items():
        if name not in given and parameter.required:
            what = f"parameter {name!r} ({parameter.kind}) has no default and was not given"
            problems.append(Problem(what, f"-p {name}=...", plan.locations.get(""), "parameter"))
            continue
        try:
            values[name] = _fit(parameter, given[name]) if name in given else parameter.default
        except NotAllowed as error:
            problems.append(
                Problem(f"parameter {name!r}: {error}", f"-p {name}=...", plan.locations.get(""), "parameter")
            )
    if problems:
        raise PipelineError(problems)
    return values


def _fit(parameter: PlanParameter, value: Any) -> Any:
    annotation = annotation_of(parameter.kind)
    if isinstance(value, str):
        # From a command line everything is a string; what fits as one is one.
        return parse_text(value, parameter.kind)
    return encode(value, annotation)
