"""`headrace image build`: the project in an image on top of Headrace's, by docker, buildah or Cloud Build."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.kubeflow.image.ignored_files import project_files
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.function_ref import project_root

PROJECT = "/app"
REQUIREMENTS = "requirements.txt"
TOOLS = {
    "docker": ("docker", "build", "--tag", "{tag}", "{options}", "{context}"),
    "buildah": ("buildah", "build", "--tag", "{tag}", "{options}", "{context}"),
    "cloud-build": ("gcloud", "builds", "submit", "--tag", "{tag}", "{options}", "{context}"),
}


@dataclass(frozen=True)
class ProjectImage:
    """A project's image before it is built.

    Args:
        project: The project's folder.
        files: Its files in the image, relative to it.
        dockerfile: The Dockerfile's text.
        tag: The image's name and tag.
    """

    project: Path
    files: tuple[str, ...]
    dockerfile: str
    tag: str

    def write(self, context: Path) -> None:
        """Writes the Dockerfile and the project's files, which every user may read, into a folder."""
        for name in self.files:
            target = context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.project / name, target)
            target.chmod(0o755 if os.access(self.project / name, os.X_OK) else 0o644)
        (context / "Dockerfile").write_text(self.dockerfile, encoding="utf-8")
        # All that is here belongs: what the project's own .dockerignore leaves out is not.
        (context / ".dockerignore").write_text("Dockerfile\n.dockerignore\n", encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `headrace image build`."""
    parser.add_argument("--project", metavar="DIR", help="the project's folder (default: the one around this folder)")
    parser.add_argument("--tag", metavar="NAME:TAG", help="the image's name (default: the project's, by its content)")
    parser.add_argument("--tool", choices=tuple(TOOLS), default="docker", help="what builds it (default: docker)")
    parser.add_argument("--base", metavar="IMAGE", help="Headrace's image (default: headrace of this version)")
    parser.add_argument("--light", action="store_true", help="on Headrace's image without TensorFlow")
    parser.add_argument(
        "--option", action="append", default=[], metavar="OPTION", help="for the tool, such as --option=--network=host"
    )
    parser.add_argument("--print", action="store_true", help="print the Dockerfile and the files, and build nothing")


def main(arguments: argparse.Namespace) -> int:
    """Builds the image; its name is the one line on standard output.

    Returns:
        The exit code: 0, or 1 when the tool failed.

    Raises:
        PipelineError: There is no project, or the tool is not installed.
    """
    base = arguments.base or default_base(arguments.light)
    folder = Path(arguments.project).absolute() if arguments.project else Path(project_root(Path.cwd()))
    image = plan_image(folder, base=base, tag=arguments.tag)
    command = tool_command(arguments.tool, image.tag, arguments.option)
    if arguments.print:
        print(f"{image.dockerfile}\n# {image.tag}: {len(image.files)} files of {image.project}")
        print("\n".join(f"#     {name}" for name in image.files))
        print("# " + " ".join(command))
        return 0
    if shutil.which(command[0]) is None:
        fix = f"install it, or use --tool {' or '.join(tool for tool in TOOLS if tool != arguments.tool)}"
        raise PipelineError(Problem(f"{command[0]} is not installed", fix, code="image"))
    with tempfile.TemporaryDirectory(prefix="headrace-image-") as context:
        image.write(Path(context))
        done = subprocess.run([*command, context], stdout=sys.stderr.fileno(), check=False)
    if done.returncode:
        print(f"{command[0]} failed with exit code {done.returncode}: see above", file=sys.stderr)
        print(f"    fix: if {base} is not there, build it: {base_command(base)}", file=sys.stderr)
        return 1
    print(image.tag)
    return 0


def plan_image(folder: Path, *, base: str, tag: str | None = None) -> ProjectImage:
    """Says what a project's image is made of.

    Args:
        folder: The project's folder.
        base: Headrace's image, or one on top of it.
        tag: The image's name; by default the folder's, with a tag that follows from the content: equal code gives an
            equal name, and no name is ever given to other code.

    Raises:
        PipelineError: The folder is missing, or nothing of it belongs to the image.
    """
    files = tuple(project_files(folder)) if folder.is_dir() else ()
    if not files:
        what = f"expected a project's files in {folder}, found none"
        raise PipelineError(Problem(what, "give --project, or correct its .dockerignore", code="image"))
    text = dockerfile(base, requirements=REQUIREMENTS in files)
    return ProjectImage(folder, files, text, tag or f"{_name(folder)}:{_content(folder, files, text)}")


def dockerfile(base: str, *, requirements: bool) -> str:
    """The Dockerfile of a project.

    >>> print(dockerfile("headrace:0.1.0", requirements=False), end="")
    FROM headrace:0.1.0
    COPY . /app
    """
    install = f"USER 0\nRUN pip install --no-cache-dir -r {PROJECT}/{REQUIREMENTS}\nUSER 1000:1000\n"
    if not requirements:
        return f"FROM {base}\nCOPY . {PROJECT}\n"
    return f"FROM {base}\nCOPY {REQUIREMENTS} {PROJECT}/\n{install}COPY . {PROJECT}\n"


def tool_command(tool: str, tag: str, options: Sequence[str] = ()) -> list[str]:
    """The command that builds an image, without the folder of its context, which comes last.

    >>> tool_command("docker", "flights:1", ["--pull"])
    ['docker', 'build', '--tag', 'flights:1', '--pull']
    """
    words: list[str] = []
    for word in TOOLS[tool][:-1]:
        words += options if word == "{options}" else [word.format(tag=tag)]
    return words


def default_base(light: bool = False) -> str:
    """The name of Headrace's own image of this version."""
    return f"headrace:{_version()}{'-light' if light else ''}"


def base_command(base: str) -> str:
    """The command that builds Headrace's own image from what is installed here."""
    package = Path(__file__).absolute().parents[2]
    if (package / "setup.py").is_file():
        source, context = "", package
    else:
        source, context = f" --build-arg SOURCE=headrace=={_version()}", package
    target = " --target light" if base.endswith("-light") else ""
    return f"docker build -t {base}{target}{source} -f {context}/kubeflow/Dockerfile {context}"


def _version() -> str:
    from importlib.metadata import version

    return version("headrace")


def _name(folder: Path) -> str:
    """The folder's name as an image may have it."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "project"


def _content(folder: Path, files: Sequence[str], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in files:
        digest.update(f"\0{name}\0{int(os.access(folder / name, os.X_OK))}".encode())
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:12]
