"""The verbs that speak with a server: upload, submit, schedule, status, terminate, and logs of a run there."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from headrace.kubeflow.cli.arguments import COMPILE_OPTIONS
from headrace.kubeflow.cli.compiling import compile_for
from headrace.kubeflow.cli.showing import print_run, print_step
from headrace.kubeflow.client import Client, CompiledFile, Connection, connect, wait
from headrace.kubeflow.client.connection import COOKIES, TOKEN, secret_from
from headrace.kubeflow.deployment import Deployment, Schedule
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.cli.commands import parameters_of
from headrace.pipelines.errors import ClusterError, PipelineError, Problem


def upload(arguments: argparse.Namespace) -> int:
    compiled, deployment = _compiled(arguments, kind=_uploaded_kind(arguments))
    client = _client(arguments, compiled, deployment)
    there = client.upload(compiled, arguments.pipeline, arguments.version)
    version = f", version {there.version}" if there.version else ""
    print(f"{there.pipeline}{version}: {'was there already' if there.was_there else 'uploaded'}")
    return 0


def submit(arguments: argparse.Namespace) -> int:
    parameters = parameters_of(arguments.parameters)
    _one_of("FILE", arguments.file, "--pipeline", arguments.pipeline)
    if arguments.timeout is not None and not (arguments.wait or arguments.follow):
        raise _command("--timeout is how long to wait", "add --wait or --follow")
    more = {"experiment": arguments.experiment, "service_account": arguments.service_account}
    if arguments.file is not None:
        if arguments.version is not None:
            raise _command("--version is of an uploaded pipeline", "give --pipeline NAME in the place of FILE")
        compiled, deployment = _compiled(arguments)
        client = _client(arguments, compiled, deployment)
        name = compiled.name
        run = client.submit(compiled, parameters, **_with_account(more, deployment))
    else:
        _refuse_compile_options(arguments, "--pipeline")
        client, name = _client(arguments), arguments.pipeline
        run = client.submit_uploaded(arguments.pipeline, arguments.version, parameters, **more)
    print(f"{name}, run {run}", flush=True)
    return _waited(client, run, arguments) if arguments.wait or arguments.follow else 0


def schedule(arguments: argparse.Namespace) -> int:
    _one_of("FILE", arguments.file, "--delete", arguments.delete)
    if arguments.delete is not None:
        _refuse_compile_options(arguments, "--delete")
        _client(arguments).unschedule(arguments.delete, experiment=arguments.experiment)
        print(f"{arguments.delete}: its schedule is ended")
        return 0
    compiled, deployment = _compiled(arguments)
    times = _times(arguments, compiled, deployment)
    client = _client(arguments, compiled, deployment)
    more = {"experiment": arguments.experiment, "service_account": arguments.service_account}
    name = client.schedule(
        compiled, times, parameters_of(arguments.parameters), name=arguments.name, **_with_account(more, deployment)
    )
    print(f"{name}: runs at {times.cron} ({times.timezone})")
    return 0


def status(arguments: argparse.Namespace) -> int:
    client = _client(arguments)
    if arguments.timeout is not None and not (arguments.wait or arguments.follow):
        raise _command("--timeout is how long to wait", "add --wait or --follow")
    if arguments.wait or arguments.follow:
        return _waited(client, arguments.run, arguments)
    found = client.status(arguments.run)
    if arguments.json:
        document = asdict(found) | {"exit_code": found.exit_code}
        print(json.dumps(document, default=lambda time: time.isoformat()))
    else:
        print_run(found)
    return found.exit_code


def terminate(arguments: argparse.Namespace) -> int:
    client = _client(arguments)
    before = client.status(arguments.run)
    if before.ended:
        raise ClusterError(f"run {arguments.run} has ended already: {before.state}", "there is nothing to do")
    client.terminate(arguments.run)
    print(f"{arguments.run}: is being ended")
    return 0


def logs(arguments: argparse.Namespace) -> int:
    """Prints the log of a step, or of those that failed."""
    from headrace.pipelines.redaction import redact

    client = _client(arguments)
    found = client.status(arguments.run)
    if arguments.step is not None:
        wanted = arguments.step.lower().replace("_", "").replace("-", "")
        chosen = [step.id for step in found.steps if step.id == arguments.step]
        chosen = chosen or [step.id for step in found.steps if step.id.lower().replace("_", "") == wanted]
        if not chosen:
            raise _command(f"no step {arguments.step!r}", f"there are {', '.join(step.id for step in found.steps)}")
    else:
        chosen = [step.id for step in found.steps if step.state == "failed"]
        if not chosen:
            steps = ", ".join(step.id for step in found.steps)
            command = f"logs --target {arguments.target} RUN STEP"
            print(f"no step of run {arguments.run} failed; {command} prints one of {steps}")
            return 0
    for step in chosen:
        if len(chosen) > 1:
            print(f"== {step}")
        print(redact(client.log(arguments.run, step)), end="")
    return 0


def _waited(client: Client, run: str, arguments: argparse.Namespace) -> int:
    """Waits for a run's end and gives the exit code that says how it ended."""
    more: dict[str, Any] = {"on_step": print_step} if arguments.follow else {}
    try:
        found = wait(client, run, timeout=arguments.timeout, **more)
    except KeyboardInterrupt:
        print(f"the run goes on; to end it: headrace terminate --target {client.target} {run}", file=sys.stderr)
        raise
    if arguments.command == "status" and arguments.json:
        print(json.dumps(asdict(found) | {"exit_code": found.exit_code}, default=lambda time: time.isoformat()))
    else:
        print_run(found, steps=False, failures=not arguments.follow)
    return found.exit_code


def _compiled(arguments: argparse.Namespace, kind: str | None = None) -> tuple[CompiledFile, Deployment | None]:
    """The compiled file, or the author's file compiled now."""
    found = CompiledFile.read(arguments.file)
    if found is not None:
        _refuse_compile_options(arguments, arguments.file)
        if found.target != arguments.target:
            raise _command(f"{arguments.file} is compiled for {found.target}", f"--target {found.target}")
        found.require_sound()
        return found, None
    plan = load_plan(arguments.file)
    text, deployment = compile_for(arguments, plan, kind)
    compiled = CompiledFile.parse(text, arguments.file)
    assert compiled is not None, "a compiler's own output"
    return compiled, deployment


def _uploaded_kind(arguments: argparse.Namespace) -> str | None:
    if arguments.target == "kfp":
        return None
    return str(arguments.kind or "WorkflowTemplate")


def _refuse_compile_options(arguments: argparse.Namespace, instead: str) -> None:
    given = [name for name in COMPILE_OPTIONS if getattr(arguments, name, None) is not None]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise _command(f"{option} does nothing with {instead}, which is compiled", "compile it again with that option")


def _times(arguments: argparse.Namespace, compiled: CompiledFile, deployment: Deployment | None) -> Schedule:
    """When to run: by the command line, the deployment file, or the compiled file."""
    given = {"timezone": arguments.timezone, "concurrency": arguments.concurrency}
    given = {name: value for name, value in given.items() if value is not None}
    base = deployment.schedule if deployment is not None else _compiled_schedule(compiled)
    if arguments.cron is not None:
        found = replace(base or Schedule(arguments.cron), cron=arguments.cron, **given)
    elif base is not None:
        found = replace(base, **given)
    else:
        raise _command("it is not said when to run", "--cron '0 6 * * 1-5', or schedule: in the deployment file")
    # A deployment finds what cannot be meant in a schedule.
    Deployment(image="-", root="s3://-", schedule=found)
    return found


def _compiled_schedule(compiled: CompiledFile) -> Schedule | None:
    if compiled.target != "argo" or compiled.document["kind"] != "CronWorkflow":
        return None
    spec: Mapping[str, Any] = compiled.document["spec"]
    crons = spec.get("schedules") or [spec["schedule"]]
    return Schedule(crons[0], spec.get("timezone", "UTC"), spec.get("concurrencyPolicy", "Allow"))


def _client(
    arguments: argparse.Namespace, compiled: CompiledFile | None = None, deployment: Deployment | None = None
) -> Client:
    namespace = arguments.namespace or (deployment.namespace if deployment is not None else None)
    if namespace is None and compiled is not None and compiled.target == "argo":
        namespace = compiled.document.get("metadata", {}).get("namespace")
    connection = Connection(
        host=arguments.host,
        namespace=namespace,
        token=secret_from(arguments.token_file, TOKEN),
        cookies=secret_from(arguments.cookies_file, COOKIES),
        service_account_token=arguments.service_account_token,
        iap_client_id=arguments.iap_client_id,
        ca_file=arguments.ca_file,
        verify=not arguments.insecure,
        context=arguments.context,
        timeout=arguments.request_timeout,
    )
    return connect(arguments.target, connection)


def _with_account(more: dict[str, Any], deployment: Deployment | None) -> dict[str, Any]:
    account = more["service_account"] or (deployment.service_account if deployment is not None else None)
    return {**more, "service_account": account}


def _one_of(first: str, one: str | None, second: str, other: str | None) -> None:
    if (one is None) == (other is None):
        raise _command(
            f"expected {first} or {second}, received {'neither' if one is None else 'both'}", f"give {first}"
        )


def _command(what: str, fix: str) -> PipelineError:
    return PipelineError(Problem(what, fix, code="command"))
