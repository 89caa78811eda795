"""`headrace compile`, `headrace check --target`, and compiling on the way to a server."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from headrace.kubeflow.compile import compile_all, compile_plan, refusals
from headrace.kubeflow.deployment import Deployment, Schedule
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.cli.commands import notes_of, parameters_of
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.plan import Plan


def compile(arguments: argparse.Namespace) -> int:
    """Compiles one pipeline to a file, or several into a folder. Nothing is written if one of them is wrong."""
    deployment = deployment_of(arguments)
    plans = _plans(arguments.files)
    texts = compile_all(
        plans,
        deployment,
        target=arguments.target,
        kind=arguments.kind,
        parameters=parameters_of(arguments.parameters),
        version=version_of(arguments),
        memoize=bool(arguments.memoize),
    )
    for plan in plans:
        tell_notes(plan)
    if arguments.output == "-":
        print("---\n".join(texts.values()), end="")
        return 0
    out = Path(arguments.output)
    many = len(texts) > 1 or out.is_dir() or arguments.output.endswith(os.sep)
    if many and out.is_file():
        what = f"expected a folder for {len(texts)} files, {out} is a file"
        raise PipelineError(Problem(what, "-o FOLDER", code="command"))
    for name, text in texts.items():
        path = out / f"{name}.yaml" if many else out
        write_whole(path, text)
        print(f"{name}: {path}")
    return 0


def tell_notes(plan: Plan) -> None:
    """Tells the notes beside what is printed, which may be the compiled file."""
    for note in notes_of(plan):
        print(note, file=sys.stderr)


def _plans(files: list[str]) -> list[Plan]:
    """The pipelines of several files, or the problems of all of them."""
    plans: list[Plan] = []
    found: list[Problem] = []
    for file in files:
        try:
            plans.append(load_plan(file))
        except PipelineError as error:
            found += error.problems
    if found:
        raise PipelineError(found)
    return plans


def require_portable(plan: Plan, arguments: argparse.Namespace) -> None:
    """What `headrace check --target` adds.

    Raises:
        PipelineError: With everything that one of the targets cannot express.
    """
    deployment = None
    if arguments.deployment is not None:
        deployment = Deployment.from_yaml(arguments.deployment, **_left_open(arguments.deployment))
    found: list[Problem] = []
    for name in dict.fromkeys(arguments.target):
        version = getattr(arguments, f"{name}_version")
        found += refusals(plan, name, version, deployment)
    for name in ("kfp", "argo"):
        if getattr(arguments, f"{name}_version") is not None and name not in arguments.target:
            found.append(Problem(f"--{name}-version is of another target", f"add --target {name}", code="command"))
    if found:
        raise PipelineError(found)


def _left_open(path: str) -> dict[str, str]:
    """Stand-ins for what a deployment file leaves to the command line: the check asks for neither image nor root."""
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    names = {"image": "image:check", "root": "s3://check"}
    return {name: text for name, text in names.items() if not isinstance(document, dict) or name not in document}


def compile_for(arguments: argparse.Namespace, plan: Plan, kind: str | None = None) -> tuple[str, Deployment]:
    """Compiles a pipeline that is on its way to a server."""
    deployment = deployment_of(arguments)
    version = version_of(arguments)
    tell_notes(plan)
    # When it runs is said to the server; what runs is the same at any time.
    timeless = replace(deployment, schedule=None) if kind != "CronWorkflow" else deployment
    text = compile_plan(
        plan, timeless, target=arguments.target, kind=kind, version=version, memoize=bool(arguments.memoize)
    )
    return text, deployment


def deployment_of(arguments: argparse.Namespace) -> Deployment:
    """The deployment file with what the command line says over it.

    Raises:
        PipelineError: A key or a value is wrong, or image or root are missing.
    """
    names = ("image", "root", "store", "project", "namespace", "service_account", "fail_if_not_blessed")
    given = {name: getattr(arguments, name) for name in names}
    if (cron := getattr(arguments, "schedule", None)) is not None:
        more = {"timezone": arguments.timezone, "concurrency": arguments.concurrency}
        given["schedule"] = Schedule(cron, **{name: value for name, value in more.items() if value is not None})
    elif arguments.command == "compile" and (arguments.timezone or arguments.concurrency):
        what = "--timezone and --concurrency are of a schedule"
        raise PipelineError(Problem(what, "add --schedule CRON", code="command"))
    if arguments.deployment is not None:
        return Deployment.from_yaml(arguments.deployment, **given)
    return Deployment.from_document({}, **given)


def version_of(arguments: argparse.Namespace) -> str | None:
    """The version of the target's server.

    Raises:
        PipelineError: The other target's was given.
    """
    other = "argo" if arguments.target == "kfp" else "kfp"
    if getattr(arguments, f"{other}_version") is not None:
        what = f"--{other}-version is of another target than --target {arguments.target}"
        raise PipelineError(Problem(what, f"--{arguments.target}-version", code="command"))
    version: str | None = getattr(arguments, f"{arguments.target}_version")
    return version


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all.

    Raises:
        PipelineError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", delete=False
        ) as new:
            new.write(text)
        # As a file that was simply opened would have: the temporary one is for its owner alone.
        mask = os.umask(0)
        os.umask(mask)
        Path(new.name).chmod(0o666 & ~mask)
        Path(new.name).replace(path)
    except OSError as error:
        raise PipelineError(Problem(f"{path}: {error.strerror}", "name another file: -o", code="command")) from None
