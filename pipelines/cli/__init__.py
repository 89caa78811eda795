"""The command `headrace`.

Exit codes: 0 done, 1 a step failed, 2 the pipeline or the command is wrong, 3 a model was not blessed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

from headrace.pipelines.errors import HeadraceError, PipelineError

EXIT_CODES = "exit codes: 0 done, 1 a step failed, 2 the pipeline is wrong, 3 not blessed, 130 interrupted"
# Verbs of a cluster. Their module is imported when one of them is asked for, and by name: this folder imports no other.
CLUSTER = "headrace.kubeflow.cli"
CLUSTER_VERBS = {
    "compile": "compile pipelines to Kubeflow Pipelines or Argo Workflows",
    "upload": "put a pipeline on a server, as a new version",
    "submit": "run a pipeline in a cluster",
    "schedule": "run a pipeline in a cluster by a schedule",
    "status": "say how far a run in a cluster is",
    "terminate": "end a run in a cluster",
    "image": "build the container image of a project",
}
SERVING = "headrace.transforms.serving.commands"
SERVING_VERBS = {
    "model": "say what a SavedModel takes and gives, with sample requests",
    "serve": "serve a SavedModel over TensorFlow Serving's REST protocol and KServe v2",
}
LATE = dict.fromkeys(CLUSTER_VERBS, CLUSTER) | dict.fromkeys(SERVING_VERBS, SERVING)
TARGETS = ("kfp", "argo")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    if argv is not None:
        return _run(argv)
    # This process is the command's own. Imports make many objects and no garbage: looking for it costs a fifth of a
    # short command, half of that at exit.
    gc.set_threshold(100_000, 50, 50)
    try:
        return _run(sys.argv[1:])
    finally:
        gc.freeze()


def _run(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        arguments = _parser(argv).parse_args(argv)
        code = _command(arguments)(arguments)
        sys.stdout.flush()
        return code
    except HeadraceError as error:
        return _say(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        from headrace.pipelines.extras import missing_extra

        missing = missing_extra(error)
        return _say(missing) if missing else _say_author_error(error)
    except Exception as error:
        return _say_author_error(error)


def _command(arguments: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    """The function of a verb."""
    name = arguments.command.replace("-", "_")
    if arguments.command in LATE or (name == "logs" and hasattr(arguments, "target")):
        module = importlib.import_module(LATE.get(arguments.command, CLUSTER))
        found: Callable[[argparse.Namespace], int] = getattr(module, name)
        return found
    from headrace.pipelines.cli import commands

    local: Callable[[argparse.Namespace], int] = getattr(commands, name)
    return local


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(error: HeadraceError) -> int:
    from headrace.pipelines.redaction import redact

    if isinstance(error, PipelineError):
        for problem in error.problems:
            print(redact(str(problem)), file=sys.stderr)
        count = len(error.problems)
        print(f"{count} problem{'s' if count > 1 else ''}", file=sys.stderr)
    else:
        print(f"error: {redact(str(error))}", file=sys.stderr)
    return error.exit_code


def _say_author_error(error: Exception) -> int:
    """Shows an exception of the author's file from the author's first line on."""
    from headrace.pipelines.channels import is_nobodys
    from headrace.pipelines.redaction import redact

    trace = error.__traceback__
    while trace is not None and is_nobodys(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    shown = "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))
    print(redact(shown), file=sys.stderr, end="")
    if trace is None:
        print("this is a fault of Headrace's own: please report it with the lines above", file=sys.stderr)
        return 1
    return 2


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace", description="Machine-learning pipelines that say what went wrong and where.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"headrace {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a pipeline on this machine", epilog=EXIT_CODES)
    _file(run)
    _store(run)
    run.add_argument("--no-cache", action="store_true", help="run every step, whatever was done before")
    run.add_argument(
        "--sample", type=_positive, metavar="N", help="run the whole pipeline on N rows of each split, in seconds"
    )
    run.add_argument(
        "--debug",
        nargs="?",
        const=True,
        default=False,
        metavar="STEP",
        help="run in this process, so that breakpoint() works; with STEP, run that step although its result is cached",
    )
    run.add_argument("--jobs", type=_positive, metavar="N", help="steps at a time (default: one for each core)")
    run.add_argument("--experiment", default="", metavar="NAME", help="a name to find the run by")
    run.add_argument(
        "--beam",
        action="append",
        default=[],
        metavar="ARG",
        help="an argument for Beam, such as --beam=--runner=FlinkRunner",
    )
    run.add_argument("--no-report", action="store_true", help="write no report.html")
    run.add_argument("--json", action="store_true", help="one JSON document a line instead of text")

    plan = commands.add_parser("plan", help="say what would run and why, without running")
    _file(plan)
    _store(plan)
    plan.add_argument("--no-cache", action="store_true")
    plan.add_argument("--sample", type=_positive, metavar="N")
    plan.add_argument("--json", action="store_true")
    plan.add_argument("--yaml", action="store_true", help="print the Plan itself as YAML")

    check = commands.add_parser("check", help="find what is wrong with a pipeline, without running")
    _file(check, parameters=False)
    check.add_argument("--json", action="store_true")
    check.add_argument(
        "--target",
        action="append",
        default=[],
        choices=TARGETS,
        help="say what that target cannot express; may be given twice",
    )
    check.add_argument("--deployment", metavar="FILE.yaml", help="where it is to run, for --target")
    check.add_argument("--kfp-version", metavar="V", help="version of Kubeflow Pipelines' server, for --target kfp")
    check.add_argument("--argo-version", metavar="V", help="version of Argo's controller, for --target argo")

    graph = commands.add_parser("graph", help="draw a pipeline")
    _file(graph, parameters=False)
    graph.add_argument("--format", choices=("text", "svg", "mermaid"), default="text")
    graph.add_argument("-o", "--output", metavar="PATH", help="write there instead of printing")

    why = commands.add_parser("why", help="say why a step ran, or would run")
    why.add_argument("step", metavar="STEP")
    why.add_argument("file", nargs="?", metavar="FILE[:NAME]", help="compare with the code that is here now")
    why.add_argument("--run", default="latest", metavar="RUN", help="the run to explain (default: the latest)")
    why.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    _store(why)

    in_cluster = "of a run in a cluster: headrace logs --target kfp|argo RUN [STEP]; its help has --target as well"
    logs = commands.add_parser("logs", help="print the log of a step", epilog=in_cluster)
    if "logs" in argv[:1] and any(argument.partition("=")[0] == "--target" for argument in argv):
        _of_cluster("logs", logs)
    else:
        logs.add_argument("step", nargs="?", metavar="STEP", help="default: the steps that failed, else a list")
        logs.add_argument("--run", default="latest", metavar="RUN")
        _store(logs)

    runs = commands.add_parser("runs", help="list the runs of a store")
    runs.add_argument("-n", type=_positive, default=20, metavar="N")
    runs.add_argument("--pipeline", metavar="NAME")
    runs.add_argument("--experiment", metavar="NAME")
    runs.add_argument("--json", action="store_true")
    _store(runs)

    show = commands.add_parser("show", help="show a run, or one step of it with its artifacts")
    show.add_argument("run", nargs="?", default="latest", metavar="RUN")
    show.add_argument("step", nargs="?", metavar="STEP")
    show.add_argument("--json", action="store_true")
    _store(show)

    rerun = commands.add_parser("rerun", help="run one step of a run again, alone, on the same inputs, in this process")
    rerun.add_argument("step", metavar="STEP")
    rerun.add_argument("--run", default="latest", metavar="RUN")
    _store(rerun)

    for verb, said in (CLUSTER_VERBS | SERVING_VERBS).items():
        added = commands.add_parser(verb, help=said, epilog=EXIT_CODES)
        if verb in argv[:1]:
            importlib.import_module(LATE[verb]).add_arguments(verb, added)
    return parser


def _of_cluster(verb: str, parser: argparse.ArgumentParser) -> None:
    importlib.import_module(CLUSTER).add_arguments(verb, parser)


def _file(parser: argparse.ArgumentParser, *, parameters: bool = True) -> None:
    parser.add_argument("file", metavar="FILE[:NAME]", help="a Python file that defines a pipeline, or a Plan as YAML")
    if parameters:
        parser.add_argument(
            "-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter"
        )


def _store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", metavar="URL", help="pipeline root, a folder or fsspec URL (default: .headrace in the project)"
    )
    parser.add_argument(
        "--store", metavar="URL", help="the store, a .db file or postgresql://... (default: store.db in the root)"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, received {text}")
    return number


def _version() -> str:
    from importlib.metadata import version

    return version("headrace")
