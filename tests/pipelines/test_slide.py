"""The well-known slide's snippet, whose three mistakes are found and nothing else."""

from __future__ import annotations

import pytest

SLIDE = """
from headrace.components import Evaluator, Importer, Pusher, SchemaGen, SqlExampleGen, StatisticsGen, Trainer
from headrace.pipelines import Examples, Pipeline, Predictions

query = "SELECT 1"
predictions = Importer(source_uri="p", artifact_type=Predictions)
evaluator = {evaluator}
example_gen = SqlExampleGen(query=query)
statistics_gen = StatisticsGen(examples=example_gen.outputs['examples'])
infer_schema = SchemaGen(statistics=statistics_gen.outputs['statistics'], infer_feature_shape=True)
trainer = Trainer(...)
pusher = Pusher(model=trainer.outputs['model'], model_blessing=evaluator.outputs['blessing'], push_destination=...)
pipeline = Pipeline(components=[{components}, infer_schema, {train}, pusher{listed}])
"""
EVALUATORS = ["Evaluator(...)", "Evaluator(predictions=predictions.outputs['result'], label='late')"]


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_slide_has_exactly_three_problems(project, evaluator):
    names = {"components": "bigquery_gen, statistics_gen", "train": "train", "listed": ""}
    project.write(slide=SLIDE.format(evaluator=evaluator, **names))
    done = project.headrace("check", "slide.py")
    assert done.code == 2
    assert done.err.splitlines() == [
        "slide.py:12: name 'bigquery_gen' is not defined",
        "    fix: bigquery_gen -> example_gen",
        "slide.py:12: name 'train' is not defined",
        "    fix: train -> trainer",
        "slide.py:6: evaluator is used by Pusher but not in components",
        "    fix: add evaluator to components",
        "3 problems",
    ]


def test_a_placeholder_alone_is_refused(project):
    """With the three mended, what is still to be written is said."""
    names = {
        "components": "example_gen, statistics_gen, predictions",
        "train": "trainer",
        "listed": ", evaluator",
    }
    project.write(slide=SLIDE.format(evaluator=EVALUATORS[1], **names))
    done = project.headrace("check", "slide.py")
    assert done.code == 2
    assert done.err.splitlines() == [
        "slide.py:10: Trainer(...) still has a placeholder",
        "    fix: write the argument in its place",
        "slide.py:11: Pusher(...) still has a placeholder",
        "    fix: write the argument in its place",
        "2 problems",
    ]


def test_names_undefined_in_a_pipeline_function_are_found_too(project):
    project.write(
        flow="""
        from headrace.components import SchemaGen, SqlExampleGen, StatisticsGen
        from headrace.pipelines import pipeline

        @pipeline
        def flow():
            example_gen = SqlExampleGen(query="SELECT 1")
            statistics_gen = StatisticsGen(examples=example_gn.outputs["examples"])
            SchemaGen(statistics=statistic_gen.outputs["statistics"], exclude=3)
        """
    )
    done = project.headrace("check", "flow.py")
    assert done.code == 2
    lines = done.err.splitlines()
    assert lines[:4] == [
        "flow.py:7: name 'example_gn' is not defined",
        "    fix: example_gn -> example_gen",
        "flow.py:8: name 'statistic_gen' is not defined",
        "    fix: statistic_gen -> statistics_gen",
    ]
    assert lines[4].startswith("flow.py:8: SchemaGen: unknown argument 'exclude'")
