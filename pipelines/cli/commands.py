"""What each command does. Heavy modules are imported where they are needed: `check` opens no store."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines import storage
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.function_ref import project_root
from headrace.pipelines.own_process import told_of
from headrace.pipelines.plan import Plan

if TYPE_CHECKING:
    from headrace.pipelines.runner.options import RunOptions
    from headrace.pipelines.runs import Run, StepRun
    from headrace.pipelines.store import Store


def run(arguments: argparse.Namespace) -> int:
    from headrace.pipelines.cli.console import console_for
    from headrace.pipelines.runner import run_plan

    plan = load_plan(arguments.file)
    if isinstance(arguments.debug, str):
        plan.step(arguments.debug)
    options = _options(
        arguments,
        debug=arguments.debug,
        jobs=1 if arguments.debug else arguments.jobs,
        beam_args=tuple(arguments.beam),
        experiment=arguments.experiment,
        report=not arguments.no_report,
    )
    listener = console_for(plan, arguments.file, as_json=arguments.json, live=not arguments.debug)
    with listener:
        done = run_plan(plan, options, listener)
    return done.exit_code


def plan(arguments: argparse.Namespace) -> int:
    before = frozenset(sys.modules)
    planned = load_plan(arguments.file)
    if arguments.yaml:
        print(planned.to_yaml(), end="")
        return 0
    from headrace.pipelines.runner.forecast import forecast

    forecasts = forecast(planned, _options(arguments))
    if arguments.json:
        print(json.dumps([vars(item) for item in forecasts]))
        return 0
    width = max(len(item.step) for item in forecasts)
    for item in forecasts:
        print(f"  {item.step:{width}}  {item.verdict:12} {item.reason}")
    for line in [*notes_of(planned), *_processes(planned), *_import_costs(before)]:
        print(line)
    return 0


def check(arguments: argparse.Namespace) -> int:
    before = frozenset(sys.modules)
    try:
        planned = load_plan(arguments.file)
        _check_portable(planned, arguments)
    except PipelineError as error:
        if not arguments.json:
            raise
        found = [{"what": p.what, "fix": p.fix, "where": str(p.where or ""), "code": p.code} for p in error.problems]
        print(json.dumps({"problems": found}))
        return 2
    if arguments.json:
        print(json.dumps({"problems": []}))
    else:
        portable = f", portable to {' and '.join(arguments.target)}" if arguments.target else ""
        print(f"{planned.name}: {len(planned.steps)} steps, no problems{portable}")
        for line in [*notes_of(planned), *_import_costs(before)]:
            print(line)
    return 0


def _check_portable(planned: Plan, arguments: argparse.Namespace) -> None:
    options = {"--deployment": arguments.deployment, "--kfp-version": arguments.kfp_version}
    options["--argo-version"] = arguments.argo_version
    if arguments.target:
        # By name: this folder imports no other.
        importlib.import_module("headrace.kubeflow.cli").require_portable(planned, arguments)
    elif given := [option for option, value in options.items() if value is not None]:
        raise PipelineError(Problem(f"{given[0]} is of a cluster", "add --target kfp or --target argo", code="command"))


def graph(arguments: argparse.Namespace) -> int:
    from headrace.pipelines import graph_drawing

    draw: dict[str, Callable[[Plan], str]] = {
        "text": lambda drawn: graph_drawing.to_text(drawn, width=shutil.get_terminal_size((100, 24)).columns),
        "svg": graph_drawing.to_svg,
        "mermaid": graph_drawing.to_mermaid,
    }
    text = draw[arguments.format](load_plan(arguments.file))
    if arguments.output:
        Path(arguments.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    return 0


def why(arguments: argparse.Namespace) -> int:
    if arguments.file:
        from headrace.pipelines.runner.forecast import forecast

        arguments.no_cache, arguments.sample = False, None
        planned = load_plan(arguments.file)
        id_ = _match(arguments.step, [step.id for step in planned.steps])
        item = next(item for item in forecast(planned, _options(arguments), all_reasons=True) if item.step == id_)
        print(f"{item.step} {item.verdict}: {item.reason}")
        return 0
    with _open_store(arguments) as store:
        from headrace.pipelines.cache_key import differences

        done = _read(store, arguments.run)
        id_ = _match(arguments.step, list(done.steps))
        step = done[id_]
        print(f"{step.id} in run {done.id}: {step.state.value}")
        if step.state.value in ("cached", "skipped"):
            print(f"  {step.cache_reason or (step.error or {}).get('message', '')}")
            return 0
        record = next(r for r in reversed(store.steps(done.id)) if r.key.path == id_)
        before = store.previous_step(store.run(done.id).history, id_, before_run=done.id)
        if before is None or before.key_fields is None or record.key_fields is None:
            lines = [step.cache_reason or "it never ran before"]
        else:
            lines = list(differences(before.key_fields, record.key_fields)) or [step.cache_reason]
        for line in lines:
            print(f"  {line}")
    return 0


def logs(arguments: argparse.Namespace) -> int:
    with _open_store(arguments) as store:
        done = _read(store, arguments.run)
        if arguments.step is None:
            chosen = [step for step in done.steps.values() if step.state.value == "failed"]
            if not chosen:
                print(f"no step of run {done.id} failed; logs STEP prints one of {', '.join(done.steps)}")
                return 0
        else:
            chosen = [done[_match(arguments.step, list(done.steps))]]
        from headrace.pipelines.redaction import redact

        for step in chosen:
            if len(chosen) > 1:
                print(f"== {step.id}")
            log, origin = _log_of(store, done, step)
            if log is None:
                print(
                    f"{step.id} has no log: it is {step.state.value}. {(step.error or {}).get('message', '')}".rstrip()
                )
                continue
            if origin.id != done.id:
                print(f"== {step.id} was taken from run {origin.id}, where it said:")
            print(redact(Path(log).read_text(errors="replace")), end="")
    return 0


def _log_of(store: Store, done: Run, step: StepRun) -> tuple[str | None, Run]:
    """The log of a step and the run in which it was written: of a cached one, that of the step it was taken from."""
    record = next(record for record in reversed(store.steps(done.id)) if record.key.path == step.id)
    if record.cached_from is None:
        return step.log, done
    origin = _read(store, record.cached_from.run_id)
    return _log_of(store, origin, origin[record.cached_from.path])


def runs(arguments: argparse.Namespace) -> int:
    with _open_store(arguments) as store:
        store.recover_dead_runs()
        found = store.runs(arguments.n, pipeline=arguments.pipeline, experiment=arguments.experiment)
    for record in found:
        seconds = (record.ended - record.started).total_seconds() if record.ended else None
        if arguments.json:
            document = {
                "id": record.id,
                "pipeline": record.pipeline,
                "state": record.state.value,
                "started": record.started.isoformat(),
            }
            print(
                json.dumps(
                    {
                        **document,
                        "seconds": seconds,
                        "parameters": dict(record.parameters),
                        "experiment": record.experiment,
                    }
                )
            )
        else:
            shown = f"{seconds:8.1f} s" if seconds is not None else " " * 10
            print(f"{record.id}  {record.state.value:12} {shown}  {record.pipeline}  {record.experiment}".rstrip())
    return 0


def show(arguments: argparse.Namespace) -> int:
    from headrace.pipelines.cli.showing import run_document, run_lines, step_lines

    with _open_store(arguments) as store:
        done = _read(store, arguments.run)
        if arguments.json:
            print(json.dumps(run_document(done)))
        elif arguments.step:
            print("\n".join(step_lines(done, done[_match(arguments.step, list(done.steps))])))
        else:
            print("\n".join(run_lines(done)))
    return 0


def rerun(arguments: argparse.Namespace) -> int:
    """Runs a recorded step again in this process, by the code that is here now.

    Its outputs go to a new folder, and nothing is recorded.
    """
    import dataclasses
    import os
    import tempfile

    from headrace.pipelines.execution import StepRequest, execute

    with _open_store(arguments) as store:
        done = _read(store, arguments.run)
        step = done[_match(arguments.step, list(done.steps))]
        log, origin = _log_of(store, done, step)
    path = Path(log).with_suffix(".request.json") if log is not None else None
    if path is None or not path.exists():
        said = f"{step.id} did not run in run {done.id}: it is {step.state.value}"
        raise PipelineError(Problem(said, "name a run in which it ran: --run"))
    request = StepRequest.from_json(path.read_text())
    # A project that was moved has its code here; one that was not, where it was.
    project = request.project if Path(request.project).is_dir() else str(project_root(Path.cwd() / "x.py"))
    request = request.moved(origin.root).with_code_of(project)
    folder = tempfile.mkdtemp(prefix=f"headrace-{step.id}-")
    outputs = {name: storage.join(folder, name) for name in request.outputs}
    if origin.plan is not None:
        os.environ.update(origin.plan.step(step.id).settings.env)
    result = execute(dataclasses.replace(request, outputs=outputs), lambda event: None)
    if result.error is not None:
        print(result.error.traceback, file=sys.stderr, end="")
        print(f"{step.id} failed: {result.error.message}", file=sys.stderr)
        return 1
    print(f"{step.id} {result.state} in {result.seconds:.1f} s; outputs in {folder}")
    return 0


def _options(arguments: argparse.Namespace, **more: Any) -> RunOptions:
    from headrace.pipelines.runner.options import RunOptions

    return RunOptions(
        parameters=parameters_of(arguments.parameters),
        root=arguments.root,
        store=arguments.store,
        cache=not arguments.no_cache,
        sample=arguments.sample,
        **more,
    )


def parameters_of(pairs: list[str]) -> dict[str, str]:
    """Parameters as they were written: `name=value`."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise PipelineError(Problem(f"expected -p name=value, received {pair!r}", f"write -p {name}=..."))
        found[name] = value
    return found


def _open_store(arguments: argparse.Namespace) -> Store:
    from headrace.pipelines.runner.options import HOME
    from headrace.pipelines.store import Store

    home = arguments.root or str(project_root(Path.cwd() / "x.py") / HOME)
    url = arguments.store or (
        str(Path(home) / "store.db") if storage.is_local(home) else str(Path.cwd() / HOME / "store.db")
    )
    return Store.open(url, create=False)


def _read(store: Store, run_id: str) -> Run:
    from headrace.pipelines.runs import read_run

    return read_run(store, run_id)


def _match(name: str, ids: list[str]) -> str:
    """Finds the step that a person means, whatever the case: `trainer` is Trainer."""
    exact = [id_ for id_ in ids if id_ == name] or [id_ for id_ in ids if id_.lower() == name.lower().replace("_", "")]
    if exact:
        return exact[0]
    raise PipelineError(Problem(f"no step {name!r}", f"there are {', '.join(ids)}"))


def notes_of(planned: Plan) -> list[str]:
    """What the author should know of a pipeline, such as a gate that it is without."""
    return [f"note: {note}" for note in planned.notes]


def _processes(planned: Plan) -> list[str]:
    """Which steps run in a process of their own, such as those of TensorFlow Transform."""
    told = {step.id: told_of(step, planned.root) for step in planned.steps}
    return [f"note: {step}: {line}" for step, line in told.items() if line is not None]


def _import_costs(before: frozenset[str]) -> list[str]:
    """What the author's file made this process import that only a worker needs."""
    heavy = [
        name for name in ("tensorflow", "apache_beam", "torch", "pandas") if name in sys.modules and name not in before
    ]
    if not heavy:
        return []
    return [
        f"note: the pipeline's file imports {', '.join(heavy)} at its top,"
        " which every command waits for (TensorFlow: about 5 s).",
        "      Import it inside the functions, or name them by string: preprocessing_fn='package.module:name'.",
    ]
