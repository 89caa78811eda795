"""The command `headrace-step`: what a compiled pipeline starts in each step's container.

Exit codes: 0 done (also refused, cached, or skipped for want of an input), 1 failed or rejected, 2 a wrong command
line, 3 refused with --fail-if-not-blessed, 143 ended from outside.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from headrace.kubeflow.container.argo_io import FOLDER, ArgoIo
from headrace.kubeflow.container.kfp_io import KfpIo
from headrace.kubeflow.container.log_lines import Log
from headrace.kubeflow.container.step import ContainerStep, Surroundings
from headrace.kubeflow.container.target_io import TargetIo
from headrace.kubeflow.container.termination_message import error_message, write_message
from headrace.kubeflow.step_document import StepDocument
from headrace.pipelines import storage
from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.execution import StepError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one step of a compiled pipeline and gives its exit code."""
    arguments = _parser().parse_args(argv)
    if Path(arguments.project).is_dir():
        os.chdir(arguments.project)
    log = Log()
    try:
        document = StepDocument.from_json(arguments.step)
        log = Log("" if arguments.no_log_prefix else f"[{document.step.id}] ")
        io = _io(arguments, document)
    except HeadraceError as error:
        text = error_message("the step", StepError(type(error).__name__, str(error), ""))
        log.line(text)
        write_message(text)
        return 1
    place = Surroundings(
        root=storage.normalize(arguments.root),
        project=arguments.project,
        target=arguments.target,
        store=arguments.store,
        fail_if_not_blessed=arguments.fail_if_not_blessed,
    )
    return ContainerStep(document, io, place, log).run()


def _io(arguments: argparse.Namespace, document: StepDocument) -> TargetIo:
    if arguments.target == "kfp":
        return KfpIo(document, executor_input=arguments.executor_input, run=arguments.run)
    return ArgoIo(
        document,
        run=arguments.run,
        retries=arguments.attempt,
        parameters=arguments.parameters,
        folder=arguments.folder,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace-step",
        description="Runs one step of a compiled pipeline; compiled files call it.",
        epilog=__doc__,
    )
    parser.add_argument("--target", choices=("kfp", "argo"), required=True)
    parser.add_argument("--step", required=True, metavar="JSON", help="the step's document")
    parser.add_argument("--root", required=True, metavar="URL", help="pipeline root")
    parser.add_argument("--project", default="/app", metavar="DIR", help="the project's folder in the image")
    parser.add_argument("--store", metavar="URL", help="a store to report to; its password comes from PGPASSWORD")
    parser.add_argument("--run", default="", metavar="ID", help="the run's id")
    parser.add_argument("--no-log-prefix", action="store_true", help="lines of the log without the step's name")
    parser.add_argument(
        "--fail-if-not-blessed", action="store_true", help="exit code 3 when a model or its data is refused"
    )
    argo = parser.add_argument_group("Argo")
    argo.add_argument("--attempt", type=int, default=0, metavar="N", help="how often the step was tried before")
    argo.add_argument("--parameters", default="", metavar="BASE64", help="a JSON object: port -> text, in base64")
    argo.add_argument("--folder", default=FOLDER, metavar="DIR", help="where inputs and outputs are mounted")
    kfp = parser.add_argument_group("Kubeflow Pipelines")
    kfp.add_argument("--executor-input", default="{}", metavar="JSON", help="KFP's {{$}}")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
