"""`headrace serve` and `headrace model show`: their arguments, and what they do."""

from __future__ import annotations

import argparse
import sys

DESCRIPTION = (
    "Serves a SavedModel over TensorFlow Serving's REST protocol (/v1) and KServe v2 (/v2), in one process that has "
    "TensorFlow and none of your code. A new version in the folder takes over without a gap. SIGTERM answers what was "
    "accepted, then ends."
)


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `headrace serve`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "path",
        metavar="PATH",
        help="folder of versions (1, 2, ...) or of one SavedModel, such as serving/flights; or its URL, such as "
        "s3://models/flights",
    )
    parser.add_argument("--name", help="the model's name in URLs (default: the folder's)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", type=_whole, default=8501, help="port; 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--versions",
        type=_versions,
        default="latest",
        metavar="WHICH",
        help="latest, all, or such as 3,5 (default: latest)",
    )
    parser.add_argument(
        "--label", type=_label, action="append", default=[], metavar="LABEL=VERSION", help="a name for a version"
    )
    parser.add_argument(
        "--max-batch",
        type=_positive,
        default=1024,
        metavar="ROWS",
        help="rows of a call that requests share (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-delay",
        type=_milliseconds,
        default=0.0,
        metavar="MS",
        help="milliseconds a request waits for others to share a call; with 0 only those that arrive while the model "
        "is busy do (default: 0)",
    )
    parser.add_argument(
        "--max-body",
        type=_bytes,
        default=32 * 2**20,
        metavar="BYTES",
        help="of a request, such as 8M; 413 above it (default: 32M)",
    )
    parser.add_argument(
        "--max-rows",
        type=_positive,
        default=100_000,
        metavar="ROWS",
        help="of a request; 413 above it (default: %(default)s)",
    )
    parser.add_argument(
        "--max-waiting",
        type=_positive,
        default=4096,
        metavar="N",
        help="requests that may wait; 503 above it (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="calls of the model at a time (default: 1)"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="threads of one call (default: all cores)")
    parser.add_argument(
        "--poll",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="between looks for new versions; 0 to look once (default: 1)",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="to answer what was accepted after SIGTERM (default: 30)",
    )


def serve(arguments: argparse.Namespace) -> int:
    """Runs the server until a signal; the exit code is 0 then, 1 if no version loads, 2 if it cannot start."""
    import logging
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from headrace.transforms.serving.model_folder import model_name
    from headrace.transforms.serving.server import Settings, run
    from headrace.transforms.serving.tensorflow_parts import prepare

    prepare()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    settings = Settings(
        path=arguments.path,
        name=arguments.name or model_name(arguments.path),
        host=arguments.host,
        port=arguments.port,
        versions=arguments.versions,
        labels=dict(arguments.label),
        max_batch=arguments.max_batch,
        batch_delay=arguments.batch_delay,
        max_body=arguments.max_body,
        max_rows=arguments.max_rows,
        max_waiting=arguments.max_waiting,
        workers=arguments.workers,
        threads=arguments.threads,
        poll=arguments.poll,
        drain=arguments.drain,
    )
    try:
        return run(settings)
    except OSError as error:
        where = f" {settings.host}:{settings.port}" if error.errno else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 2


def _positive(text: str) -> int:
    number = _whole(text)
    if not number:
        raise argparse.ArgumentTypeError("expected a number from 1, received 0")
    return number


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, received {text!r}")
    return int(text)


def _milliseconds(text: str) -> float:
    """Seconds."""
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds < 60_000:
        raise argparse.ArgumentTypeError(f"expected milliseconds from 0 to 60000, received {text!r}")
    return milliseconds / 1000


def _bytes(text: str) -> int:
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    unit = units.get(text[-1:].upper(), 1)
    return _positive(text if unit == 1 else text[:-1]) * unit


def _versions(text: str) -> str | tuple[int, ...]:
    if text in ("latest", "all"):
        return text
    return tuple(_whole(part) for part in text.split(","))


def _label(text: str) -> tuple[str, int]:
    label, equals, version = text.partition("=")
    if not label or not equals:
        raise argparse.ArgumentTypeError(f"expected LABEL=VERSION, such as stable=3, received {text!r}")
    return label, _whole(version)


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `headrace model show`."""
    parser.description = "Tells what a SavedModel takes and gives, with requests that work as they are printed."
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a SavedModel, a folder of versions (the highest is shown) or a Model artifact; or the URL of one of the "
        "first two in an object store",
    )
    parser.add_argument("--signature", metavar="NAME", help="tell of this signature alone")
    parser.add_argument("--name", help="the model's name in URLs (default: the folder's)")
    parser.add_argument(
        "--url", default="http://localhost:8501", help="the server's, in the requests (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def show(arguments: argparse.Namespace) -> int:
    """Prints what a model takes and gives; the exit code is 2 if there is none."""
    import json
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from headrace.transforms.serving.model_card import as_text, describe

    try:
        card = describe(arguments.path, name=arguments.name, url=arguments.url.rstrip("/"), only=arguments.signature)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(card, indent=1, ensure_ascii=False) if arguments.json else as_text(card))
    return 0


def add_arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of a verb of `headrace`: "serve" or "model"."""
    if verb == "serve":
        add_serve_arguments(parser)
        return
    commands = parser.add_subparsers(dest="model_command", required=True, metavar="COMMAND")
    add_show_arguments(commands.add_parser("show", help="what a SavedModel takes and gives, with sample requests"))


def model(arguments: argparse.Namespace) -> int:
    """Runs the command of `headrace model` that was asked for."""
    return {"show": show}[arguments.model_command](arguments)
