"""`headrace image build`: what it writes, how it calls each tool, and the image's name."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from headrace.kubeflow.image import build
from headrace.pipelines.errors import PipelineError

# Instead of the tool: writes down how it was called and what lay in the folder of its context.
RECORDER = """#!{python}
import os, sys
context = sys.argv[-1]
with open("{record}", "w") as out:
    print(*sys.argv[1:-1], sep="\\n", file=out)
    for base, _, files in sorted(os.walk(context)):
        for name in sorted(files):
            path = os.path.join(base, name)
            print(oct(os.stat(path).st_mode & 0o777), os.path.relpath(path, context), file=out)
    print(open(os.path.join(context, "Dockerfile")).read(), file=out)
print("noise of the tool")
raise SystemExit({code})
"""


def project(folder: Path) -> Path:
    (folder / "pkg").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("")
    (folder / "pkg" / "model.py").write_text("a = 1\n")
    (folder / "secret.key").write_text("secret")
    (folder / "secret.key").chmod(0o600)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / ".dockerignore").write_text("pyproject.toml\n")
    return folder


def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int = 0) -> Path:
    record, path = tmp_path / "record", tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(RECORDER.format(python=sys.executable, record=record, code=code))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return record


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    build.add_arguments(parser)
    return build.main(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("name", "program", "words"),
    [
        ("docker", "docker", ["build", "--tag", "flights:1", "--pull"]),
        ("buildah", "buildah", ["build", "--tag", "flights:1", "--pull"]),
        ("cloud-build", "gcloud", ["builds", "submit", "--tag", "flights:1", "--pull"]),
    ],
)
def test_each_tool_gets_the_dockerfile_and_the_projects_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd, name: str, program: str, words: list[str]
) -> None:
    folder, record = project(tmp_path / "Flights_2"), tool(tmp_path, monkeypatch, program)
    assert run(f"--project={folder}", f"--tool={name}", "--tag=flights:1", "--option=--pull", "--base=mine:3") == 0
    lines = record.read_text().splitlines()
    assert lines[: len(words)] == words
    assert lines[len(words) : -3] == [
        "0o644 .dockerignore",
        "0o644 Dockerfile",
        "0o755 run.sh",
        "0o644 secret.key",
        "0o644 pkg/model.py",
    ]
    assert lines[-3:-1] == ["FROM mine:3", "COPY . /app"]
    out, err = capfd.readouterr()
    assert out == "flights:1\n" and "noise of the tool" in err


def test_the_name_follows_from_the_content(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path / "Flights_2")
    first = build.plan_image(folder, base="headrace:1").tag
    assert first.startswith("flights-2:") and build.plan_image(folder, base="headrace:1").tag == first
    assert build.plan_image(folder, base="headrace:2").tag != first
    (folder / "pyproject.toml").write_text("# ignored")
    assert build.plan_image(folder, base="headrace:1").tag == first
    (folder / "pkg" / "model.py").write_text("a = 2\n")
    changed = build.plan_image(folder, base="headrace:1").tag
    assert changed != first
    monkeypatch.chdir(folder / "pkg")
    assert run("--print", "--base=headrace:1") == 0
    said = capsys.readouterr().out
    assert said.startswith("FROM headrace:1\nCOPY . /app\n") and changed in said and "pkg/model.py" in said


def test_requirements_are_installed_before_the_code_is_copied(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    (folder / "requirements.txt").write_text("lightgbm\n")
    lines = build.plan_image(folder, base="headrace:1").dockerfile.splitlines()
    assert lines == [
        "FROM headrace:1",
        "COPY requirements.txt /app/",
        "USER 0",
        "RUN pip install --no-cache-dir -r /app/requirements.txt",
        "USER 1000:1000",
        "COPY . /app",
    ]


def test_what_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    folder = project(tmp_path / "p")
    tool(tmp_path, monkeypatch, "docker", code=125)
    assert run(f"--project={folder}", "--light") == 1
    out, err = capfd.readouterr()
    assert not out and "exit code 125" in err and "--target light" in err and "docker build -t headrace:" in err
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PipelineError, match=r"docker is not installed\n.*buildah or cloud-build"):
        run(f"--project={folder}")
    with pytest.raises(PipelineError, match="expected a project's files"):
        run(f"--project={tmp_path / 'missing'}")


def test_the_command_that_builds_the_base_names_files_that_are_there() -> None:
    words = build.base_command(build.default_base()).split()
    dockerfile, context = Path(words[words.index("-f") + 1]), Path(words[-1])
    assert dockerfile.is_file() and (context / "kubeflow" / "image" / "slim.sh").is_file()
    assert subprocess.run(["sh", "-n", context / "kubeflow" / "image" / "slim.sh"], check=False).returncode == 0
