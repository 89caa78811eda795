"""Which engine, Keras and process a module needs, by its source; and TFX's names where TFX is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from headrace.components.tfx import names, process
from headrace.components.tfx.module_imports import ModuleImports, uses_transform
from headrace.pipelines import TransformGraph
from headrace.pipelines.errors import MissingExtra
from headrace.pipelines.function_ref import FunctionRef

PLAIN = """
import tensorflow as tf
import keras
def preprocessing_fn(inputs):
    return {"x": tf.keras.layers.Dense(1)(inputs["x"])}
"""
OF_TFT = """
import tensorflow as tf, tensorflow_transform as tft
from helper import scaled
def preprocessing_fn(inputs):
    return {"x": scaled(inputs["x"])}
def build_model(features):
    import keras
    return keras.Sequential()
def old(features):
    return tf.keras.Sequential()
"""
HELPER = """
import tensorflow_transform
def scaled(x):
    return tensorflow_transform.scale_to_z_score(x)
"""
TYPED = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import tensorflow_transform as tft
def preprocessing_fn(inputs):
    return {"x": inputs["x"]}
"""


@pytest.fixture
def modules(tmp_path, monkeypatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    for name, text in {"plain": PLAIN, "of_tft": OF_TFT, "helper": HELPER, "typed": TYPED}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "indirect.py").write_text("import of_tft\ndef run_fn(fn_args):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ref(name: str, folder: Path) -> FunctionRef:
    return FunctionRef.of(name, root=folder)


@pytest.mark.parametrize(
    ("function", "legacy", "engine", "keras"),
    [
        ("plain:preprocessing_fn", [], False, {"tf.keras": "Keras 3", "keras": "Keras 3"}),
        (
            "of_tft:preprocessing_fn",
            ["tensorflow_transform"],
            True,
            {"tf.keras": "Keras 2 (tf_keras)", "keras": "Keras 3"},
        ),
        (
            "of_tft:build_model",
            ["tensorflow_transform"],
            False,
            {"tf.keras": "Keras 2 (tf_keras)", "keras": "Keras 3"},
        ),
        ("indirect:run_fn", ["tensorflow_transform"], False, {"tf.keras": "Keras 2 (tf_keras)", "keras": "Keras 3"}),
        ("typed:preprocessing_fn", [], False, {}),
    ],
)
def test_a_module_is_judged_by_its_source(modules, function, legacy, engine, keras):
    before = set(sys.modules)
    one = ref(function, modules)
    imports = ModuleImports.of([one], str(modules))
    assert imports.legacy == legacy and imports.keras == keras
    assert uses_transform(one, str(modules)) == engine
    assert process.is_needed([one], str(modules)) == bool(legacy)
    assert not {"tensorflow_transform", "of_tft", "plain"} & (set(sys.modules) - before)


def test_a_module_file_a_function_and_a_text_are_judged_alike(modules):
    from headrace.components import SchemaGen, StatisticsGen, Transform
    from headrace.components.parquet_example_gen import ParquetExampleGen
    from headrace.pipelines import Pipeline

    def steps(**given):
        gen = ParquetExampleGen(input_base="rows.parquet")
        statistics = StatisticsGen(examples=gen.outputs["examples"])
        schema = SchemaGen(statistics=statistics.outputs["statistics"])
        transform = Transform(examples=gen.outputs["examples"], schema=schema.outputs["schema"], **given)
        made = Pipeline(name="p", components=[gen, statistics, schema, transform], root=str(modules))
        return made.plan.step("Transform")

    assert steps(preprocessing_fn="plain:preprocessing_fn").imports
    # Handed to a process of its own, the step needs nothing imported in its worker.
    assert steps(module_file="of_tft.py").imports == ()
    assert steps(preprocessing_fn="of_tft:preprocessing_fn").imports == ()


@pytest.fixture
def without_tfx(monkeypatch):
    """TFX's names, and none of them afterwards."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    names.install()
    yield
    for name in [name for name in sys.modules if name == "tfx" or name.startswith("tfx.")]:
        del sys.modules[name]


def test_the_names_that_modules_import_are_there(without_tfx):
    from headrace.components.training.fn_args import FnArgs

    found: dict[str, object] = {}
    exec(
        "from tfx import v1 as tfx\n"
        "from tfx.components.trainer.fn_args_utils import FnArgs\n"
        "from tfx.components.trainer.executor import TrainerFnArgs\n"
        "from tfx.components.trainer import fn_args_utils\n"
        "import tfx.components\n"
        "same = tfx.components.FnArgs is FnArgs is TrainerFnArgs is fn_args_utils.FnArgs\n",
        found,
    )
    assert found["same"] and found["FnArgs"] is FnArgs
    assert "tfx.v1.utils.parse_pbtxt_file" in names.available()


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("from tfx.v1 import proto", "tfx.v1.proto"),
        ("import tfx.orchestration.pipeline", "tfx.orchestration"),
        ("from tfx import v1 as tfx; tfx.components.CsvExampleGen", "tfx.v1.components.CsvExampleGen"),
        ("from tfx.components.trainer.fn_args_utils import FnArg", "tfx.components.trainer.fn_args_utils.FnArg"),
    ],
)
def test_a_missing_name_lists_what_is_there(without_tfx, statement, missing):
    with pytest.raises((ImportError, AttributeError), match=f"{missing} is not here") as found:
        exec(statement, {})
    assert "tfx.v1.components.FnArgs" in str(found.value) and "install tfx" in str(found.value)


def test_the_names_are_for_one_process_only_and_tfx_itself_comes_first(monkeypatch, tmp_path):
    assert not any(type(one).__module__ == names.__name__ for one in sys.meta_path)
    (tmp_path / "tfx").mkdir()
    (tmp_path / "tfx" / "__init__.py").write_text("mine = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names.install()
    assert not any(type(one).__module__ == names.__name__ for one in sys.meta_path)


def test_without_the_extra_it_is_named(modules, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorflow_transform" else find(name))
    with pytest.raises(MissingExtra, match=r"tensorflow_transform is not installed: pip install 'headrace\[tft\]'"):
        process.said([ref("of_tft:preprocessing_fn", modules)], str(modules))


def test_which_keras_is_said(modules):
    said = process.said([ref("of_tft:build_model", modules)], str(modules))
    assert said.startswith("of_tft imports tensorflow_transform: a process of its own; tensorflow_transform 1.")
    assert said.endswith("; tf.keras is Keras 2 (tf_keras); keras is Keras 3")


def test_the_engine_is_a_property_of_the_transform_graph():
    assert TransformGraph.engine.__doc__
