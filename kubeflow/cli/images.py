"""`headrace image`."""

from __future__ import annotations

import argparse

from headrace.kubeflow.image import build


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what can be done with images."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    said = "build the container image of a project, on top of Headrace's"
    build.add_arguments(verbs.add_parser("build", help=said, description=said))


def image(arguments: argparse.Namespace) -> int:
    return build.main(arguments)
