"""What KFP's own code reads of a compiled file: its messages, its SDK's loader, its server's compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from headrace.kubeflow.kfp.check import _PLATFORM_FIELDS
from headrace.kubeflow.kfp.compile import compile_kfp
from headrace.kubeflow.kfp.platform_spec import executor_config
from headrace.kubeflow.kfp.protos import pipeline_spec_pb2
from headrace.pipelines.plan import Plan, Settings

from tests.kubeflow.kfp.kfp_plans import (
    DEPLOYMENT,
    NEW_SETTINGS,
    NEWEST,
    OLD_SETTINGS,
    ROOT,
    documents,
    flights,
    one_step,
    ports,
)

PLANS: dict[str, Callable[[], tuple[Plan, str]]] = {
    "flights": lambda: (flights(), "2.0.5"),
    "ports": lambda: (ports(), "2.0.5"),
    "old settings": lambda: (one_step(**OLD_SETTINGS), "2.0.5"),
    "new settings": lambda: (one_step(**NEW_SETTINGS), NEWEST),
}
LOAD = """
import sys
{before}
from headrace.kubeflow.kfp.protos import pipeline_spec_pb2
module = pipeline_spec_pb2()
spec = module.PipelineSpec(schema_version="2.1.0")
assert module.PipelineSpec.FromString(spec.SerializeToString()) == spec
{after}
print("kfp" in sys.modules)
"""


def run(code: str, *path: Path) -> str:
    code = f"import sys; sys.path[:0] = {[str(one) for one in path]}\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def sdk(tmp_path: Path) -> Path:
    """A folder with the SDK in it as pip installs it: `kfp/__init__.py` beside the messages' own folder."""
    file = Path(pipeline_spec_pb2().__file__ or "")
    package = tmp_path / "kfp" / "pipeline_spec"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / file.name).write_bytes(file.read_bytes())
    (tmp_path / "kfp" / "__init__.py").write_text("SLOW = True\n")
    return tmp_path


def test_the_messages_are_loaded_without_the_sdk() -> None:
    assert run(LOAD.format(before="", after="")) == "False"


def test_the_messages_are_loaded_beside_the_sdk_without_running_it(sdk: Path) -> None:
    assert run(LOAD.format(before="", after=""), sdk) == "False"


def test_the_sdk_may_be_imported_afterwards(sdk: Path) -> None:
    after = (
        "import kfp\nassert kfp.SLOW\nfrom kfp.pipeline_spec import pipeline_spec_pb2 as theirs\n"
        "assert theirs.PipelineSpec.FromString(spec.SerializeToString()) == spec\n"
    )
    assert run(LOAD.format(before="", after=after), sdk) == "True"


def test_the_sdk_may_be_imported_before(sdk: Path) -> None:
    before = "import kfp\nfrom kfp.pipeline_spec import pipeline_spec_pb2 as theirs"
    assert run(LOAD.format(before=before, after="assert module is theirs"), sdk) == "True"


def test_without_the_messages_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        f"import importlib.util\nspec = importlib.util.spec_from_file_location('protos', {str(SOURCE)!r})\n"
        "import types; errors = types.ModuleType('headrace.pipelines.errors')\n"
        "class HeadraceError(Exception): pass\nerrors.HeadraceError = HeadraceError\n"
        "sys.modules['headrace.pipelines.errors'] = errors\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "try: module.pipeline_spec_pb2()\nexcept HeadraceError as error: print(error)"
    )
    assert run(code) == "kfp-pipeline-spec is not installed: pip install kfp-pipeline-spec"


SOURCE = ROOT / "kubeflow" / "kfp" / "protos.py"


@pytest.mark.parametrize("name", PLANS)
def test_the_official_messages_hold_it(name: str) -> None:
    from google.protobuf import json_format

    plan, version = PLANS[name]()
    spec, *platform = documents(compile_kfp(plan, DEPLOYMENT, kfp_version=version))
    messages = pipeline_spec_pb2()
    read = json_format.ParseDict(spec, messages.PipelineSpec())
    for task in spec["root"]["dag"]["tasks"].values():
        if not task["cachingOptions"]["enableCache"]:
            task["cachingOptions"] = {}  # as the messages write what is not so
    assert json_format.MessageToDict(read)["root"] == spec["root"]
    for one in platform:
        assert json_format.MessageToDict(json_format.ParseDict(one, messages.PlatformSpec())) == one


def test_the_platform_spec_is_a_message_of_kfp_kubernetes() -> None:
    executor = pytest.importorskip("kfp.kubernetes.kubernetes_executor_config_pb2")
    from google.protobuf import json_format

    config = executor_config(Settings.from_json(NEW_SETTINGS), ("registry",))
    read = json_format.ParseDict(config, executor.KubernetesExecutorConfig())
    assert json_format.MessageToDict(read) == config
    assert {field.json_name for field in read.DESCRIPTOR.fields} <= _PLATFORM_FIELDS


@pytest.mark.parametrize("name", PLANS)
def test_the_sdk_loads_it(name: str) -> None:
    components = pytest.importorskip("kfp.components")
    plan, version = PLANS[name]()
    text = compile_kfp(plan, DEPLOYMENT, kfp_version=version)
    loaded = components.load_component_from_text(text)
    assert loaded.name == documents(text)[0]["pipelineInfo"]["name"]
    inputs = loaded.component_spec.inputs or {}
    assert sorted(inputs) == sorted(parameter.name for parameter in plan.parameters)
    for parameter in plan.parameters:
        assert inputs[parameter.name].optional is not parameter.required
    assert loaded.pipeline_spec.root.dag.tasks.keys() == documents(text)[0]["root"]["dag"]["tasks"].keys()


@pytest.mark.parametrize("name", PLANS)
def test_the_server_takes_it(name: str, kfp_server: Callable[[str], str]) -> None:
    plan, version = PLANS[name]()
    assert kfp_server(compile_kfp(plan, DEPLOYMENT, kfp_version=version)) == ""


def test_the_server_refuses_what_is_none(kfp_server: Callable[[str], str]) -> None:
    text = compile_kfp(ports(), DEPLOYMENT).replace("comp-join", "comp-gone", 1)
    assert kfp_server(text) != ""
