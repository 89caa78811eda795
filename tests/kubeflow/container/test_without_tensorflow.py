"""Data steps where neither TensorFlow nor Keras is installed, as in the light image."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from headrace.pipelines.plan import Plan

from tests.kubeflow.container.by_hand import Cluster

AUTHOR = """
from headrace.components import CsvExampleGen, ExampleValidator, SchemaGen, StatisticsGen
from headrace.pipelines import HyperParameters, Output, component, pipeline


@component
def Train(out: Output[HyperParameters]):
    import keras


@pipeline
def data(folder: str = "data"):
    examples = CsvExampleGen(input_base=folder).outputs["examples"]
    statistics = StatisticsGen(examples=examples).outputs["statistics"]
    schema = SchemaGen(statistics=statistics).outputs["schema"]
    ExampleValidator(statistics=statistics, schema=schema)
    Train()
"""
# Python imports this module when it starts.
WITHOUT = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""


def test_data_steps_need_neither(load: Callable[[str], Plan], argo: Cluster, project: Path, tmp_path: Path) -> None:
    (project / "data").mkdir()
    rows = [f"{number},{number % 7},{'abc'[number % 3]}" for number in range(300)]
    (project / "data" / "rows.csv").write_text("\n".join(["id,value,name", *rows]) + "\n")
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(WITHOUT)
    argo.env = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "without"), os.environ.get("PYTHONPATH", "")])}
    outcomes = argo.run(load("data"), "r1")
    train = outcomes.pop("Train")
    assert train.code == 1 and "No module named 'keras'" in train.message
    assert {step: outcome.verdict for step, outcome in outcomes.items()} == dict.fromkeys(
        ("CsvExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator"), "succeeded"
    ), [outcome.log for outcome in outcomes.values()]
