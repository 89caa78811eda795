"""cloudbuild.yaml and the triggers: they parse into Cloud Build's own messages, and every command in them exists.

`steps` gives each step's image and words as Cloud Build would start them; tests with Docker run them in order.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from headrace.pipelines.cli import _parser

ROOT = Path(__file__).parent.parent.parent
TRIGGERS = sorted((ROOT / "kubeflow" / "triggers").glob("*.yaml"))
# What Cloud Build gives by itself.
BUILT_IN = {"PROJECT_ID": "our-project", "SHORT_SHA": "abc1234", "COMMIT_SHA": "abc1234" * 5, "LOCATION": "us-central1"}


class BuildStep(NamedTuple):
    """A step as it is started: the image, the words of its command, variables, and the steps it waits for."""

    id: str
    image: str
    words: tuple[str, ...]
    env: tuple[str, ...]
    wait_for: tuple[str, ...]


def build() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    return document


def values(**given: str) -> dict[str, str]:
    """The substitutions with their values, those that use others among them."""
    found = {**BUILT_IN, **build()["substitutions"], **given}
    for _ in found:
        found = {name: substituted(text, found) for name, text in found.items()}
    return found


def substituted(text: str, known: dict[str, str]) -> str:
    """A text as Cloud Build makes it: ${NAME} and $NAME are replaced, $$ is a dollar."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return known[found[1] or found[2]]

    return re.sub(r"\$\$|\$\{([A-Z_][A-Z0-9_]*)\}|\$([A-Z_][A-Z0-9_]*)", one, text)


def steps(**given: str) -> list[BuildStep]:
    """The steps of the build with other values of some substitutions."""
    known = values(**given)
    found = []
    for step in build()["steps"]:
        words = [step["entrypoint"], *step["args"]]
        env = tuple(substituted(text, known) for text in step.get("env", ()))
        made = tuple(substituted(word, known) for word in words)
        found.append(BuildStep(step["id"], substituted(step["name"], known), made, env, tuple(step.get("waitFor", ()))))
    return found


def commands(line: str) -> list[list[str]]:
    """The `headrace` commands in a line of a shell, as words, with a file in the place of a loop's variable."""
    found = re.findall(r"\bheadrace ([^;]*)", line)
    return [shlex.split(one.replace('"$file"', "file.yaml").replace("\n", " ")) for one in found]


def message(document: dict[str, Any], name: str) -> Any:
    """A document as one of Cloud Build's messages; an unknown field or a wrong type raises."""
    cloudbuild = pytest.importorskip(
        "google.cloud.devtools.cloudbuild_v1", reason="google-cloud-build is of the extra dev"
    )
    from google.protobuf import json_format

    type_ = getattr(cloudbuild, name)
    return json_format.ParseDict(document, type_.pb(type_()))


def test_the_build_parses_strictly():
    parsed = message(build(), "Build")
    assert [step.id for step in parsed.steps] == [step["id"] for step in build()["steps"]]
    assert parsed.timeout.seconds == 3600 and parsed.service_account and parsed.options.dynamic_substitutions
    from google.protobuf import json_format

    with pytest.raises(json_format.ParseError, match="waitsFor"):
        message({"steps": [{"name": "x", "waitsFor": ["y"]}]}, "Build")


@pytest.mark.parametrize("path", TRIGGERS, ids=lambda path: path.stem)
def test_a_trigger_parses_strictly_and_sets_what_the_build_has(path):
    document = yaml.safe_load(path.read_text())
    parsed = message(document, "BuildTrigger")
    assert parsed.name and parsed.service_account
    known = set(build()["substitutions"])
    own = {name for name in document["substitutions"] if "$(body" in document["substitutions"][name]}
    assert set(document["substitutions"]) - known <= own, "Cloud Build refuses a substitution that nothing uses"
    assert any(line.startswith("# gcloud builds triggers import") for line in path.read_text().splitlines())


def test_there_is_a_trigger_of_each_kind():
    kinds = {path.stem: yaml.safe_load(path.read_text()) for path in TRIGGERS}
    assert set(kinds) == {"branch", "tag", "manual", "pubsub"}
    assert "branch" in kinds["branch"]["repositoryEventConfig"]["push"]
    assert "tag" in kinds["tag"]["repositoryEventConfig"]["push"]
    assert "pubsubConfig" in kinds["pubsub"] and "sourceToBuild" in kinds["manual"]


def test_every_substitution_is_used_and_every_used_one_has_a_value():
    text = (ROOT / "cloudbuild.yaml").read_text()
    body = re.sub(r"(?m)^\s*#.*$", "", text)
    used = set(re.findall(r"\$\{([A-Z_][A-Z0-9_]*)\}", body))
    declared = set(build()["substitutions"])
    assert used - declared <= {"PROJECT_ID", "SHORT_SHA"}
    assert declared <= used


def test_steps_wait_for_what_they_need_and_nothing_is_pushed_untested():
    after: dict[str, set[str]] = {}
    for step in steps():
        before = [name for name in step.wait_for if name != "-"]
        assert all(name in after for name in before), f"{step.id} waits for a step that comes later"
        after[step.id] = set(before).union(*(after[name] for name in before)) if before else set()
    assert {"test", "check"} <= after["push"]
    assert {"push", "compile-kfp"} <= after["upload"] and "upload" in after["submit"]
    assert "folders" in after["compile-kfp"] & after["compile-argo"]


@pytest.mark.parametrize(
    "step", steps(_KFP_HOST="https://kfp", _SUBMIT="true", _WAIT="--follow"), ids=lambda step: step.id
)
def test_every_command_of_a_step_is_one(step):
    """The shell reads it, and headrace's own parser takes each of its words."""
    if step.words[0] == "bash":
        assert subprocess.run(["bash", "-n", "-c", step.words[-1]], timeout=20).returncode == 0
    for words in commands(step.words[-1]):
        parsed = _parser(words).parse_args(words)
        assert parsed.command == words[0]
    assert step.words[0] in ("bash", "docker")
    if step.words[0] == "docker":
        assert step.words[1] in ("build", "push")


def test_the_files_that_the_build_names_are_there():
    known = values()
    for file in (known["_DOCKERFILE"], known["_CONTEXT"], *known["_PIPELINES"].split(), *known["_TESTS"].split()):
        assert (ROOT / file).exists(), file


def test_without_a_server_nothing_is_uploaded_and_without_a_word_nothing_is_run(tmp_path):
    """The commands themselves, with a `headrace` that writes down what it is asked for."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "headrace").write_text('#!/bin/sh\necho "$@" >> called\n')
    (tmp_path / "bin" / "headrace").chmod(0o755)
    (tmp_path / "compiled" / "kfp").mkdir(parents=True)
    (tmp_path / "compiled" / "kfp" / "flights.yaml").write_text("")

    def called(**given: str) -> list[str]:
        (tmp_path / "called").write_text("")
        for step in steps(**given):
            if step.id in ("upload", "submit"):
                env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
                assert subprocess.run(step.words, cwd=tmp_path, env=env, timeout=20).returncode == 0
        return (tmp_path / "called").read_text().splitlines()

    host = {"_KFP_HOST": "https://kfp"}
    upload = "upload --target kfp --host https://kfp --version abc1234 compiled/kfp/flights.yaml"
    submit = "submit --target kfp --host https://kfp --experiment cloud-build --follow compiled/kfp/flights.yaml"
    assert called() == []
    assert called(**host) == [upload]
    assert called(**host, _SUBMIT="true", _WAIT="--follow") == [upload, submit]
