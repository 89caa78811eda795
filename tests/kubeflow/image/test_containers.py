"""kubeflow/Dockerfile built for real, and steps run in containers of it as a strict cluster runs them."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

import pytest
from headrace.kubeflow.image import build
from headrace.pipelines.author_file import load_plan

from tests.kubeflow.container.by_hand import Cluster
from tests.kubeflow.image.conftest import REPOSITORY, run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

# The most that an image may take on a node's disk.
LIMITS = {"headrace-test:light": 760 << 20, "headrace-test:full": 2000 << 20}

AUTHOR = """
from headrace.components import CsvExampleGen, ExampleValidator, SchemaGen, StatisticsGen
from headrace.pipelines import HyperParameters, Output, component, pipeline


@component
def Look(out: Output[HyperParameters]) -> None:
    import os, socket
    from pathlib import Path
    def writes(path):
        try: Path(path, "probe").write_text("x")
        except OSError as error: return error.strerror
        return "written"
    limits = [Path(p) for p in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    out.write({
        "user": os.getuid(),
        "places": {path: writes(path) for path in ("/", "/app", "/opt/headrace", "/usr/local", "/tmp")},
        "memory": next(p.read_text().strip() for p in limits if p.exists()),
        "capabilities": [l.split()[1] for l in Path("/proc/self/status").read_text().splitlines() if "CapEff" in l],
        "compilers": [n for n in ("gcc", "cc", "g++", "make", "clang") for p in os.environ["PATH"].split(":")
                      if os.path.exists(f"{p}/{n}")],
    })


@component
def Fill(out: Output[HyperParameters]) -> None:
    held = []
    while True:
        held.append(bytearray(64 << 20))


@component
def Train(out: Output[HyperParameters]) -> None:
    import keras, numpy as np
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(np.ones((8, 2)), np.ones(8), epochs=2, verbose=0)
    out.write({"loss": history.history["loss"]})


@pipeline
def data(folder: str = "data"):
    examples = CsvExampleGen(input_base=folder).outputs["examples"]
    statistics = StatisticsGen(examples=examples).outputs["statistics"]
    schema = SchemaGen(statistics=statistics).outputs["schema"]
    ExampleValidator(statistics=statistics, schema=schema)


@pipeline
def look(): Look()

@pipeline
def fill(): Fill()

@pipeline
def train(): Train()
"""


@pytest.fixture(scope="module")
def images(docker: dict[str, str]) -> dict[str, str]:
    """Headrace's two images, built from this checkout, by the name of their target."""
    names = {"light": "headrace-test:light", "full": "headrace-test:full"}
    for target, name in names.items():
        where = ("--file", REPOSITORY / "kubeflow" / "Dockerfile", REPOSITORY)
        run("docker", "build", "--network=host", "--target", target, "--tag", name, *where)
    return names


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("")
    (folder / "author.py").write_text(textwrap.dedent(AUTHOR))
    rows = [f"{number},{number % 7},{'abc'[number % 3]}" for number in range(500)]
    (folder / "data" / "rows.csv").write_text("\n".join(["id,value,name", *rows]) + "\n")
    return folder


def cluster(tmp_path: Path, project: Path, base: str, *options: str) -> Cluster:
    """Builds the project's own image, and gives a cluster that runs each step in a container as a strict one does."""
    parser = argparse.ArgumentParser()
    build.add_arguments(parser)
    name = f"headrace-test-project:{base.partition(':')[2]}"
    given = [f"--project={project}", f"--base={base}", f"--tag={name}", "--option=--network=host"]
    assert build.main(parser.parse_args(given)) == 0
    (tmp_path / "root").mkdir(exist_ok=True)
    for folder in (*tmp_path.parents[:2], tmp_path, tmp_path / "root"):
        folder.chmod(0o777)
    strict = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=200")
    mounts = ("--tmpfs=/tmp", "--mount", f"type=bind,src={tmp_path},dst={tmp_path}")
    env = ("--env=HEADRACE_TERMINATION_LOG", "--network=host")
    within = ("docker", "run", "--rm", *strict, *mounts, *env, "--memory=1g", "--memory-swap=1g", *options, name)
    return Cluster(tmp_path / "pods", str(tmp_path / "root"), Path("/app"), within=within, program=("headrace-step",))


def result(root: Path, pipeline: str, step: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((root / pipeline / "r1" / step / "out" / "hyperparameters.json").read_text())
    return found


def test_data_steps_run_in_the_light_image(images: dict[str, str], tmp_path: Path, project: Path) -> None:
    there = run("docker", "run", "--rm", "--network=host", images["light"], "pip", "list")
    assert "headrace" in there and "tensorflow-cpu" not in there and "keras" not in there
    plan = load_plan(f"{project / 'author.py'}:data")
    outcomes = cluster(tmp_path, project, images["light"]).run(plan, "r1")
    assert {step: (outcome.code, outcome.verdict) for step, outcome in outcomes.items()} == {
        step.id: (0, "succeeded") for step in plan.steps
    }, [outcome.log for outcome in outcomes.values()]


def test_a_projects_requirements_lie_where_its_code_finds_them(
    images: dict[str, str], tmp_path: Path, project: Path
) -> None:
    (project / "requirements.txt").write_text("humanize==4.9.0\n")
    name = cluster(tmp_path, project, images["light"]).within[-1]
    found = "import headrace.pipelines, humanize; print(humanize.__file__, humanize.__cached__)"
    paths = run("docker", "run", "--rm", "--network=host", name, "python", "-c", found).split()
    # The user's own installation is beside Headrace's, and compiled: a step's file system may be read-only.
    assert all(path.startswith("/opt/headrace/lib/") for path in paths)
    assert run("docker", "run", "--rm", "--network=host", name, "sh", "-c", f"ls {paths[1]}").split() == paths[1:]


def test_a_container_may_write_nowhere_but_where_it_must(images: dict[str, str], tmp_path: Path, project: Path) -> None:
    outcome = cluster(tmp_path, project, images["light"]).run(load_plan(f"{project / 'author.py'}:look"), "r1")["Look"]
    assert outcome.code == 0, outcome.log
    seen = result(tmp_path / "root", "look", "Look")
    assert seen["user"] == 1000 and seen["compilers"] == [] and seen["capabilities"] == ["0000000000000000"]
    assert seen["places"] == dict.fromkeys(("/", "/app", "/opt/headrace", "/usr/local"), "Read-only file system") | {
        "/tmp": "written"
    }
    assert seen["memory"] == str(1 << 30)


def test_a_step_without_memory_says_so(images: dict[str, str], tmp_path: Path, project: Path) -> None:
    outcome = cluster(tmp_path, project, images["light"]).run(load_plan(f"{project / 'author.py'}:fill"), "r1")["Fill"]
    # The kernel ends the step's process, or with it the whole container: 137 then is all that can be told.
    assert outcome.code in (1, 137), outcome.log
    assert outcome.code == 137 or ("memory" in outcome.message.lower())


def test_training_runs_in_the_full_image(images: dict[str, str], tmp_path: Path, project: Path) -> None:
    outcome = cluster(tmp_path, project, images["full"]).run(load_plan(f"{project / 'author.py'}:train"), "r1")["Train"]
    assert outcome.code == 0, outcome.log
    first, last = result(tmp_path / "root", "train", "Train")["loss"]
    assert last < first


def test_the_images_are_as_small_as_they_are_said_to_be(images: dict[str, str]) -> None:
    for name in images.values():
        inspected = json.loads(run("docker", "image", "inspect", name))[0]
        print(f"{name}: {inspected['Size'] / (1 << 20):,.0f} MiB")
        assert inspected["Size"] < LIMITS[name]
        config = inspected["Config"]
        assert config["User"] == "1000:1000" and not config.get("Entrypoint") and config["WorkingDir"] == "/app"
    # What is not compiled would be, at every start: the file system is read-only.
    left = "import importlib.util as u, pathlib, sysconfig; root = pathlib.Path(sysconfig.get_path('purelib')); "
    left += "print([p for d in ('headrace', 'pyarrow', 'apache_beam') for p in map(str, (root / d).rglob('*.py')) "
    left += "if not pathlib.Path(u.cache_from_source(p)).exists()])"
    for name in images.values():
        assert run("docker", "run", "--rm", "--network=host", name, "python", "-c", left).strip() == "[]"
