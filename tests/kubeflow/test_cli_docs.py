"""Every command that the documentation quotes exists: its words are taken by the command's own parser."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from headrace.kubeflow.deployment import Deployment
from headrace.pipelines.cli import _parser, main
from headrace.pipelines.step_settings import Settings

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("kubeflow", "cloud-build", "command-line"))]
GUIDE = (ROOT / "docs" / "kubeflow.md").read_text()


def blocks(text: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [block for name, block in found if name == language]


def quoted() -> list[tuple[str, str]]:
    """Each command line of a block, with the page it stands on."""
    found = []
    for page in PAGES:
        for block in blocks(page.read_text()):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.split("  #")[0].strip()) for line in lines if line.startswith("headrace ")]
    return found


@pytest.mark.parametrize(("page", "line"), quoted())
def test_a_quoted_command_is_one(page, line):
    words = shlex.split(line)[1:]
    assert _parser(words).parse_args(words).command == words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_that_is_named_in_passing_has_a_help(page):
    verbs = set(re.findall(r"`headrace ([a-z]+)", page.read_text()))
    assert verbs or page.name == "cloud-build.md"
    for verb in sorted(verbs):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0 and f"headrace {verb}" in out.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_option_in_passing_is_one_of_some_command(page):
    known = set()
    for verb in (
        "compile",
        "check",
        "upload",
        "submit",
        "schedule",
        "status",
        "terminate",
        "run",
        "plan",
        "runs",
        "show",
    ):
        known |= options([verb])
    known |= (
        options(["logs", "--target", "argo"]) | options(["image", "build"]) | options(["graph"]) | options(["logs"])
    )
    others = {"--run", "--role", "--runner"}
    named = set(re.findall(r"`(--[a-z][a-z-]+)", page.read_text()))
    assert named - known - others == set()


def options(words: list[str]) -> set[str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        _parser(words).parse_args([*words, "--help"])
    return set(re.findall(r"--[a-z][a-z-]+", out.getvalue()))


def test_the_deployment_file_of_the_guide_has_every_key_and_is_right(tmp_path):
    block = next(block for block in blocks(GUIDE, "yaml") if block.startswith("image:"))
    document = yaml.safe_load(block)
    assert set(document) == {field.name for field in fields(Deployment)}
    assert set(document["settings"]) == {field.name for field in fields(Settings)}
    (tmp_path / "deployment.yaml").write_text(block)
    deployment = Deployment.from_yaml(tmp_path / "deployment.yaml")
    assert deployment.schedule is not None and deployment.schedule.timezone == "Europe/Zurich"
    for block in blocks(GUIDE, "yaml"):
        Settings.from_json(yaml.safe_load(block)["settings"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_that_is_linked_is_there(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
