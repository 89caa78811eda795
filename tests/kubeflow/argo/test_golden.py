"""Every example, as each kind: `pytest --rewrite-golden` writes the files anew, and their diff is for reading."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from headrace.kubeflow.argo import KINDS, check_argo, compile_argo
from headrace.kubeflow.deployment import Deployment, Schedule
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.plan import Plan, Settings

from tests.kubeflow.argo.conftest import Lint

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests" / "golden" / "argo"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*/pipeline.py"))
DEPLOYMENT = Deployment(
    image="registry.example.com/flights:1",
    root="s3://bucket/pipelines",
    namespace="pipelines",
    service_account="headrace",
    parallelism=4,
    ttl=604800,
    pod_gc="OnPodSuccess",
    settings=Settings(memory="2Gi", secrets=(("AWS_SECRET_ACCESS_KEY", "s3/secretkey"),)),
    schedule=Schedule("0 6 * * 1-5", "Europe/Zurich"),
)


def plan_of(example: Path) -> Plan:
    """The example's Plan, the code's digests left out: a golden file is about what is compiled, not about the code."""
    text = load_plan(str(example), root=str(REPOSITORY)).to_json()
    return Plan.from_json(re.sub(r'"code_digest":"[^"]*"', '"code_digest":"code"', text))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_compiles_to_its_golden_file(golden: Callable[[str, str], None], example: Path, kind: str):
    text = compile_argo(plan_of(example), DEPLOYMENT, kind=kind)
    assert check_argo(text) == []
    golden(f"argo/{example.parent.name}.{kind.lower()}.yaml", text)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_whose_steps_argo_memoizes(golden: Callable[[str, str], None], example: Path):
    text = compile_argo(plan_of(example), DEPLOYMENT, memoize=True)
    assert check_argo(text) == []
    golden(f"argo/{example.parent.name}.memoized.yaml", text)


def test_there_is_a_golden_file_of_every_example_and_no_other():
    kinds = (*(kind.lower() for kind in KINDS), "memoized")
    expected = {f"{example.parent.name}.{kind}.yaml" for example in EXAMPLES for kind in kinds}
    assert EXAMPLES and {path.name for path in GOLDEN.iterdir()} == expected


def test_argos_linter_accepts_every_golden_file(argo_lint: Lint):
    assert argo_lint({path.stem: path.read_text(encoding="utf-8") for path in GOLDEN.iterdir()}) == {}


def test_another_process_writes_the_same_bytes():
    code = (
        "import sys; from headrace.pipelines.author_file import load_plan; "
        "from headrace.kubeflow.argo import compile_argo; from headrace.kubeflow.deployment import Deployment; "
        "plan = load_plan(sys.argv[1], root=sys.argv[2]); "
        "sys.stdout.write(compile_argo(plan, Deployment(image='a:1', root='s3://b/c'))); "
        "heavy = {'tensorflow', 'keras', 'apache_beam', 'pyarrow', 'sqlalchemy', 'kubernetes'} & {*sys.modules}; "
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, str(EXAMPLES[0]), str(REPOSITORY)]
    texts = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True, cwd=REPOSITORY
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
