"""What each verb of a cluster takes on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

TARGETS = ("kfp", "argo")
KINDS = ("Workflow", "WorkflowTemplate", "CronWorkflow")
CONCURRENCY = ("Allow", "Forbid", "Replace")
# Options that decide on what is compiled, and mean nothing for a file that is compiled already.
COMPILE_OPTIONS = (
    *("deployment", "image", "root", "store", "project", "fail_if_not_blessed"),
    *("kind", "kfp_version", "argo_version", "memoize"),
)


def add_arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of a verb."""
    _VERBS[verb](parser)


def _compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE[:NAME]", help="a Python file that defines a pipeline, or a Plan"
    )
    _target(parser)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="a file, - to print it, or a folder for PIPELINE.yaml of each",
    )
    _parameters(parser, "a default of a pipeline parameter, in the place of the file's")
    _deployment(parser)
    _kind(parser)
    parser.add_argument("--schedule", metavar="CRON", help="when it runs: minute hour day month weekday (Argo)")
    parser.add_argument("--timezone", metavar="TZ", help="of the schedule, such as Europe/Zurich (default: UTC)")
    parser.add_argument("--concurrency", choices=CONCURRENCY, help="when the run before is not done (default: Forbid)")


def _upload(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    _target(parser)
    parser.add_argument("--pipeline", metavar="NAME", help="its name on the server (default: its own)")
    parser.add_argument("--version", metavar="V", help="the version's name, such as a commit (default: by its content)")
    _deployment(parser)
    _kind(parser)
    _connection(parser)


def _submit(parser: argparse.ArgumentParser) -> None:
    _file(parser, optional=True)
    _target(parser)
    parser.add_argument("--pipeline", metavar="NAME", help="run an uploaded pipeline, in the place of FILE")
    parser.add_argument("--version", metavar="V", help="of the uploaded pipeline (default: the newest)")
    _parameters(parser, "a pipeline parameter")
    parser.add_argument("--experiment", metavar="E", help="a name to find the run by")
    parser.add_argument("--wait", action="store_true", help="wait for its end; the exit code says how it ended")
    parser.add_argument("--follow", action="store_true", help="the same, with a line for each step")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="wait at most so long; the run goes on")
    _deployment(parser)
    _connection(parser)


def _schedule(parser: argparse.ArgumentParser) -> None:
    _file(parser, optional=True)
    _target(parser)
    parser.add_argument("--cron", metavar="CRON", help="minute hour day month weekday, such as '0 6 * * 1-5'")
    parser.add_argument("--timezone", metavar="TZ", help="such as Europe/Zurich (default: UTC; Argo)")
    parser.add_argument("--concurrency", choices=CONCURRENCY, help="when the run before is not done (default: Forbid)")
    parser.add_argument(
        "--name", metavar="NAME", help="the schedule's name (default: the pipeline's); one there is replaced"
    )
    parser.add_argument("--delete", metavar="NAME", help="end the schedule of that name, in the place of FILE")
    _parameters(parser, "a pipeline parameter of its runs")
    parser.add_argument("--experiment", metavar="E", help="a name to find its runs by")
    _deployment(parser)
    _connection(parser)


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="what submit printed")
    _target(parser)
    parser.add_argument("--wait", action="store_true", help="wait for its end")
    parser.add_argument("--follow", action="store_true", help="the same, with a line for each step as it ends")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="wait at most so long")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    _connection(parser)


def _terminate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="what submit printed")
    _target(parser)
    _connection(parser)


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="what submit printed")
    parser.add_argument("step", nargs="?", metavar="STEP", help="default: the steps that failed, else a list")
    _target(parser)
    _connection(parser)


def _image(parser: argparse.ArgumentParser) -> None:
    from headrace.kubeflow.cli.images import add_image_arguments

    add_image_arguments(parser)


def _file(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    said = "a compiled file; or a Python file or Plan, compiled on the way with --image and --root"
    parser.add_argument("file", nargs="?" if optional else None, metavar="FILE[:NAME]", help=said)


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, choices=TARGETS, help="Kubeflow Pipelines v2 or Argo Workflows")


def _kind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind", choices=KINDS, help="Argo's kind of object (default: CronWorkflow with a schedule, else Workflow)"
    )


def _parameters(parser: argparse.ArgumentParser, said: str) -> None:
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help=said)


def _deployment(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where the steps run", "what is given here wins over the deployment file")
    group.add_argument(
        "--deployment", metavar="FILE.yaml", help="a file with image, root and defaults of steps' settings"
    )
    group.add_argument("--image", metavar="IMAGE", help="the container image of every step that names none itself")
    group.add_argument("--root", metavar="URL", help="pipeline root that every pod can write to: s3://bucket/folder")
    group.add_argument("--store", metavar="URL", help="store that steps report to: postgresql://USER@HOST/DATABASE")
    group.add_argument("--project", metavar="FOLDER", help="the project's folder in the image (default: /app)")
    group.add_argument("--service-account", metavar="NAME", help="the pods' service account")
    group.add_argument(
        "--fail-if-not-blessed", action="store_true", default=None, help="let a refused model fail the run"
    )
    group.add_argument(
        "--memoize",
        action="store_true",
        default=None,
        help="Argo: start no pod for a step whose result is known; its controller must be allowed to write config maps",
    )
    group.add_argument("--kfp-version", metavar="V", help="version of Kubeflow Pipelines' server")
    group.add_argument("--argo-version", metavar="V", help="version of Argo's controller")
    if not any("--namespace" in action.option_strings for action in parser._actions):
        group.add_argument("--namespace", metavar="NS", help="Kubernetes namespace of the runs")


def _connection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--host",
        metavar="URL",
        help="Kubeflow's API (default: KF_PIPELINES_ENDPOINT), or Argo's server (default: the kubeconfig's cluster)",
    )
    if not any("--namespace" in action.option_strings for action in parser._actions):
        group.add_argument("--namespace", metavar="NS", help="Kubernetes namespace of the runs")
    group.add_argument("--token-file", metavar="FILE", help="a file with a bearer token (default: HEADRACE_TOKEN)")
    group.add_argument("--cookies-file", metavar="FILE", help="a file with cookies (default: HEADRACE_COOKIES)")
    group.add_argument(
        "--service-account-token",
        nargs="?",
        const="",
        metavar="FILE",
        help="Kubeflow: the token that Kubernetes mounts into this pod",
    )
    group.add_argument("--iap-client-id", metavar="ID", help="Kubeflow behind Google's Identity-Aware Proxy")
    group.add_argument("--ca-file", metavar="FILE", help="certificates of the server's authority")
    group.add_argument("--insecure", action="store_true", help="do not check the server's certificate")
    group.add_argument("--context", metavar="NAME", help="of the kubeconfig")
    group.add_argument(
        "--request-timeout", type=_seconds, default=30.0, metavar="SECONDS", help="for one request (default: 30)"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, received {text}")
    return seconds


_VERBS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "compile": _compile,
    "upload": _upload,
    "submit": _submit,
    "schedule": _schedule,
    "status": _status,
    "terminate": _terminate,
    "logs": _logs,
    "image": _image,
}
