"""Transform: features of every split are Keras' own after `adapt` on the train split, and nothing else is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from headrace.components import SchemaGen, StatisticsGen, Transform
from headrace.pipelines import Examples, Output, Schema, TransformGraph
from headrace.pipelines.errors import DataError, PipelineError, UserCodeError
from headrace.pipelines.step_context import StepContext, enter, leave
from headrace.transforms.keras_graph import feature_batch_to_tensors, load_transform
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA = """
feature { name: "age" type: FLOAT presence { min_fraction: 0.5 } }
feature { name: "city" type: BYTES presence { min_fraction: 0.5 } }
feature { name: "code" type: INT presence { min_fraction: 1 } }
feature { name: "bought" type: INT presence { min_fraction: 1 } }
"""
ARROW = pa.schema([("age", pa.float32()), ("city", pa.string()), ("code", pa.int64()), ("bought", pa.int64())])


def rows(number: int, seed: int, cities: str = "abcdefg") -> pa.Table:
    random = np.random.default_rng(seed)
    age = random.normal(40, 12, number).astype(np.float32)
    city = random.choice([*cities], number).astype(object)
    return pa.table(
        {
            "age": pa.array(age, mask=random.random(number) < 0.1),
            "city": pa.array(city, mask=random.random(number) < 0.1),
            "code": pa.array(random.integers(-3, 12, number)),
            "bought": pa.array(random.integers(0, 2, number)),
        },
        schema=ARROW,
    )


def write_examples(folder: Path, **splits: pa.Table) -> Examples:
    examples = Examples(str(folder))
    with examples.writer(next(iter(splits.values())).schema) as writer:
        for split, table in splits.items():
            writer.declare(split)
            for batch in table.combine_chunks().to_batches():
                writer.write(split, batch)
    examples.commit({})
    return examples


def write_schema(folder: Path, text: str = SCHEMA) -> Schema:
    schema = Schema(str(folder))
    schema.write(text_format.Parse(text, schema_pb2.Schema()))
    schema.commit({})
    return schema


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    return write_schema(tmp_path / "schema")


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 97)


@pytest.fixture(autouse=True)
def fresh_names() -> None:
    """Keras numbers unnamed layers through a process; a step has a process of its own."""
    keras.utils.clear_session()


def features_of(result: Any, split: str) -> dict[str, np.ndarray]:
    specs = load_transform(result.transform_graph.path).feature_specs
    return feature_batch_to_tensors(result.transformed_examples.read(split), specs)


def raw(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns as Keras takes them: (rows, 1), missing as NaN and ""."""
    city = [value or "" for value in table["city"].to_pylist()]
    return {
        "age": table["age"].to_numpy().astype(np.float32).reshape(-1, 1),
        "city": np.array(city, dtype=object).reshape(-1, 1),
        "code": table["code"].to_numpy().reshape(-1, 1),
        "bought": table["bought"].to_numpy().reshape(-1, 1),
    }


def onehot(width_from: Any, inputs: Any) -> Any:
    """A layer made in a helper."""
    return layers.StringLookup(output_mode=width_from)(inputs)


def wide_variety(inputs: dict[str, Any]) -> dict[str, Any]:
    hot = layers.StringLookup(output_mode="one_hot")(inputs["city"])
    age = layers.Lambda(lambda x: keras.ops.where(keras.ops.isnan(x), 40.0, x))(inputs["age"])
    return {
        "age": layers.Normalization(axis=None)(age),
        "rescaled": layers.Rescaling(0.5, offset=1.0)(age),
        "bin": layers.Discretization(bin_boundaries=[20.0, 40.0, 60.0])(age),
        "city": layers.StringLookup()(inputs["city"]),
        "hot": hot,
        # A one-hot followed by a Normalization, and the same one-hot used twice.
        "normalized_hot": layers.Normalization()(hot),
        "hot_twice": layers.Concatenate()([hot, hot]),
        # Two unnamed layers of one class, on other inputs.
        "code": layers.IntegerLookup()(inputs["code"]),
        "code_hot": layers.IntegerLookup(output_mode="one_hot")(inputs["code"]),
        "from_helper": onehot("multi_hot", inputs["city"]),
        "hashed": layers.Hashing(7)(inputs["city"]),
        "crossed": layers.HashedCrossing(11)((inputs["city"], inputs["code"])),
        "encoded": layers.CategoryEncoding(20, output_mode="one_hot")(inputs["code"] + 5),
        "bought": inputs["bought"],
    }


def by_keras(train: dict[str, np.ndarray], table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What Keras' own layers give after `adapt` on the train split, written out by hand."""

    def adapted(layer: Any, data: Any) -> Any:
        layer.adapt(data)
        return layer

    # Missing rows are left out of what a vocabulary is made from, as they are in ours.
    cities = train["city"][train["city"] != ""].reshape(-1, 1)
    fill = {
        name: np.where(np.isnan(t["age"]), np.float32(40), t["age"]) for name, t in (("train", train), ("all", table))
    }
    hot_layer = adapted(layers.StringLookup(output_mode="one_hot"), cities)
    hot = hot_layer(table["city"]).numpy()
    crossing = layers.HashedCrossing(11)
    return {
        "age": adapted(layers.Normalization(axis=None), fill["train"])(fill["all"]).numpy(),
        "rescaled": layers.Rescaling(0.5, offset=1.0)(fill["all"]).numpy(),
        "bin": layers.Discretization(bin_boundaries=[20.0, 40.0, 60.0])(fill["all"]).numpy(),
        "city": adapted(layers.StringLookup(), cities)(table["city"]).numpy(),
        "hot": hot,
        "normalized_hot": adapted(layers.Normalization(), hot_layer(train["city"]).numpy())(hot).numpy(),
        "hot_twice": np.concatenate([hot, hot], axis=1),
        "code": adapted(layers.IntegerLookup(), train["code"])(table["code"]).numpy(),
        "code_hot": adapted(layers.IntegerLookup(output_mode="one_hot"), train["code"])(table["code"]).numpy(),
        "from_helper": adapted(layers.StringLookup(output_mode="multi_hot"), cities)(table["city"]).numpy(),
        "hashed": layers.Hashing(7)(table["city"]).numpy(),
        "crossed": crossing((table["city"], table["code"])).numpy(),
        "encoded": layers.CategoryEncoding(20, output_mode="one_hot")(table["code"] + 5).numpy(),
        "bought": table["bought"],
    }


def test_features_of_every_split_equal_keras_layers_adapted_on_train(tmp_path: Path, schema: Schema) -> None:
    tables = {"train": rows(700, 1), "eval": rows(300, 2, "abcdefghij"), "test": rows(5, 3)}
    examples = write_examples(tmp_path / "examples", **tables)
    result = Transform.call(
        out_dir=tmp_path / "out", examples=examples, schema=schema, preprocessing_fn=wide_variety, labels=["bought"]
    )
    assert result.transformed_examples.splits == ["train", "eval", "test"]
    for split, table in tables.items():
        expected = by_keras(raw(tables["train"]), raw(table))
        found = features_of(result, split)
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert found[name].shape == values.shape, name
            if np.issubdtype(values.dtype, np.integer):
                np.testing.assert_array_equal(found[name], values, err_msg=name)
            else:
                np.testing.assert_allclose(found[name], values, rtol=2e-6, atol=2e-6, err_msg=name)


def test_no_other_split_changes_the_state(tmp_path: Path, schema: Schema) -> None:
    train, evaluation = rows(300, 1), rows(100, 2)
    planted = pa.table(
        {"age": pa.array([1e6] * 100, pa.float32()), "city": ["zzz"] * 100, "code": [99] * 100, "bought": [1] * 100},
        schema=ARROW,
    )
    digests, features = [], []
    for name, other in (("plain", evaluation), ("planted", planted)):
        examples = write_examples(tmp_path / name, train=train, eval=other)
        result = Transform.call(
            out_dir=tmp_path / f"{name}_out", examples=examples, schema=schema, preprocessing_fn=wide_variety
        )
        keras.utils.clear_session()
        digests.append(result.transform_graph.digest)
        features.append(result.transformed_examples.read("train"))
    assert digests[0] == digests[1]
    assert features[0].equals(features[1])
    # The same value in the train split does change it.
    examples = write_examples(tmp_path / "in_train", train=pa.concat_tables([train, planted]), eval=evaluation)
    result = Transform.call(
        out_dir=tmp_path / "in_train_out", examples=examples, schema=schema, preprocessing_fn=wide_variety
    )
    assert result.transform_graph.digest != digests[0]


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_sample_mode_gives_what_beam_gives(tmp_path_factory: pytest.TempPathFactory, seed: int, number: int) -> None:
    folder = tmp_path_factory.mktemp("engines")
    schema = write_schema(folder / "schema")
    examples = write_examples(folder / "examples", train=rows(number, seed), eval=rows(20, seed + 1))
    written: list[tuple[str, pa.Table]] = []
    for sample in (None, 50):
        outputs: dict[str, Output[Any]] = {
            "transform_graph": TransformGraph(str(folder / f"graph-{sample}")),
            "transformed_examples": Examples(str(folder / f"transformed-{sample}")),
        }
        keras.utils.clear_session()
        context = StepContext(sample=sample)
        assert context.engine == ("beam" if sample is None else "direct")
        token = enter(context)
        try:
            Transform.function(
                examples=examples, schema=schema, preprocessing_fn=wide_variety, labels=["bought"], **outputs
            )
        finally:
            leave(token)
            context.close()
        digest = outputs["transform_graph"].commit({}).digest
        outputs["transformed_examples"].commit({})
        written.append((digest, outputs["transformed_examples"].read("train")))
    assert written[0][0] == written[1][0]
    assert written[0][1].equals(written[1][1])


def test_passthrough_is_written_as_it_is(tmp_path: Path, schema: Schema) -> None:
    table = rows(200, 5)
    examples = write_examples(tmp_path / "examples", train=table)
    result = Transform.call(
        out_dir=tmp_path / "out",
        examples=examples,
        schema=schema,
        preprocessing_fn=lambda inputs: {"age_scaled": layers.Rescaling(0.1)(inputs["age"])},
        passthrough=["bought", "city"],
    )
    stored = result.transformed_examples.read("train")
    assert stored.column_names == ["age_scaled", "bought", "city"]
    assert stored["bought"].equals(table["bought"])
    assert stored["city"].equals(table["city"])
    assert result.transformed_examples.properties["transformed"] is True
    assert set(result.transformed_examples.links) == {"examples", "schema"}
    assert set(result.transform_graph.links) == {"examples", "schema"}


def test_without_materialize_there_is_only_the_graph(tmp_path: Path, schema: Schema) -> None:
    examples = write_examples(tmp_path / "examples", train=rows(50, 5))
    result = Transform.call(
        out_dir=tmp_path / "out", examples=examples, schema=schema, preprocessing_fn=wide_variety, materialize=False
    )
    assert set(result.outputs) == {"transform_graph"}


def test_a_wide_one_hot_is_stored_as_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 rows of 10,000 categories would be 800 MB; the features are Keras' own nevertheless."""
    monkeypatch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 8192)
    words = np.array([f"word{number}" for number in range(10_000)], dtype=object)
    chosen = np.concatenate([np.arange(10_000), np.random.default_rng(0).integers(0, 10_000, 10_000)])
    table = pa.table({"word": pa.array(words[chosen])})
    schema = write_schema(tmp_path / "schema", 'feature { name: "word" type: BYTES presence { min_fraction: 1 } }')
    examples = write_examples(tmp_path / "examples", train=table)
    result = Transform.call(
        out_dir=tmp_path / "out",
        examples=examples,
        schema=schema,
        preprocessing_fn=lambda inputs: {"word": layers.StringLookup(output_mode="one_hot")(inputs["word"])},
    )
    assert sum(entry.size for entry in result.transformed_examples.manifest.files.values()) < 1 << 20
    keras_layer = layers.StringLookup(output_mode="one_hot")
    keras_layer.adapt(words[chosen].reshape(-1, 1))
    specs = load_transform(result.transform_graph.path).feature_specs
    some = result.transformed_examples.read("train").slice(9_990, 300)
    dense = feature_batch_to_tensors(some, specs)["word"]
    assert dense.shape == (300, 10_001)
    np.testing.assert_array_equal(dense, keras_layer(words[chosen[9_990:10_290]].reshape(-1, 1)).numpy())


@pytest.mark.parametrize(("default", "tokens"), [(None, [1, 2, 2, 3, 2, 1]), ("none", [1, 2, 0, 3, 2, 1])])
def test_a_missing_string_shares_the_token_of_the_empty_one_unless_a_default_is_stated(
    tmp_path: Path, default: str | None, tokens: list[int]
) -> None:
    examples = write_examples(tmp_path / "examples", train=pa.table({"c": ["a", "", None, "b", "", "a"]}))
    statistics = StatisticsGen.call(examples=examples, out_dir=tmp_path / "statistics").statistics
    message = SchemaGen.call(statistics=statistics, out_dir=tmp_path / "inferred").schema.read()
    if default is not None:
        message.feature[0].annotation.tag.append(f"default={default}")
    schema = Schema(str(tmp_path / "schema"))
    schema.write(message)
    schema.commit({})

    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"c": layers.StringLookup()(inputs["c"])}

    result = Transform.call(
        out_dir=tmp_path / "out", examples=examples, schema=schema, preprocessing_fn=preprocessing_fn
    )
    assert result.transformed_examples.read("train")["c"].to_pylist() == tokens


@pytest.mark.slow
def test_a_wide_one_hot_over_a_million_rows_stays_within_memory() -> None:
    benchmark = Path(__file__).resolve().parents[2] / "benchmarks" / "wide_one_hot.py"
    ran = subprocess.run([sys.executable, str(benchmark)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout.splitlines()[-1])
    assert figures["peak_mb"] < 1500


def test_an_empty_split_stays_and_an_empty_train_split_is_refused(tmp_path: Path, schema: Schema) -> None:
    examples = write_examples(tmp_path / "examples", train=rows(50, 5), eval=rows(50, 5).slice(0, 0))
    arguments = {"schema": schema, "preprocessing_fn": wide_variety}
    result = Transform.call(out_dir=tmp_path / "out", examples=examples, **arguments)
    assert result.transformed_examples.read("eval").num_rows == 0
    with pytest.raises(DataError, match="split 'eval' has no rows"):
        Transform.call(out_dir=tmp_path / "none", examples=examples, train_split="eval", **arguments)
    with pytest.raises(PipelineError, match=r"expected a split 'trian'.*\n.*did you mean 'train'"):
        Transform.call(out_dir=tmp_path / "none", examples=examples, train_split="trian", **arguments)


def test_a_label_from_a_column_with_missing_values_is_warned_of(tmp_path: Path, schema: Schema) -> None:
    examples = write_examples(tmp_path / "examples", train=rows(300, 5))

    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"code": inputs["code"], "old": layers.Lambda(lambda x: x > 40.0)(inputs["age"])}

    result = Transform.call(
        out_dir=tmp_path / "out", examples=examples, schema=schema, preprocessing_fn=preprocessing_fn, labels=["old"]
    )
    missing = examples.read("train")["age"].null_count
    assert missing
    [warning] = result.warnings
    assert f"label 'old' is computed from columns with missing values in split 'train': 'age' ({missing}" in warning


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"passthrough": ["bougth"]},
            "passthrough has 'bougth', which is no raw column\n    fix: did you mean 'bought'",
        ),
        ({"passthrough": ["city"]}, "passthrough has city, and preprocessing_fn returns outputs of that name"),
        ({"labels": ["bougth"]}, "did you mean 'bought'"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, schema: Schema, arguments: dict[str, Any], said: str) -> None:
    examples = write_examples(tmp_path / "examples", train=rows(50, 5))
    with pytest.raises(PipelineError) as refused:
        Transform.call(
            out_dir=tmp_path / "out", examples=examples, schema=schema, preprocessing_fn=wide_variety, **arguments
        )
    assert said in str(refused.value)


def test_an_error_in_preprocessing_fn_names_the_authors_line(tmp_path: Path, schema: Schema) -> None:
    examples = write_examples(tmp_path / "examples", train=rows(50, 5))

    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"age": inputs["aeg"]}  # the line that is named

    with pytest.raises(UserCodeError) as raised:
        Transform.call(out_dir=tmp_path / "out", examples=examples, schema=schema, preprocessing_fn=preprocessing_fn)
    assert __file__ in str(raised.value)
    assert 'return {"age": inputs["aeg"]}' in str(raised.value)
    traceback = raised.value.__cause__.__traceback__  # type: ignore[union-attr]
    assert traceback is not None
    assert traceback.tb_frame.f_code.co_name == "preprocessing_fn"
