"""Text and table in one model, from raw rows through Transform and Trainer to a client that lacks our code."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tensorflow as tf
from headrace.components import Evaluator, Importer, Trainer, Transform
from headrace.components.training.feature_source import FeatureSource
from headrace.components.training.pretrained import local_paths, pretrained_problems
from headrace.components.training.reference_rows import ReferenceRows
from headrace.pipelines import Examples, Pipeline, Schema, TransformGraph
from headrace.pipelines.errors import DataError
from headrace.pipelines.input_files import resolve_files
from headrace.transforms.keras_graph import load_transform

from tests.small_multimodal import (
    MODALITIES,
    SCHEMA,
    build_model,
    on_saved_keras,
    on_saved_model,
    preprocessing_fn,
    rows,
    save_word_vectors,
)
from tests.small_training import Made, assert_equal_weights, history, write_examples, write_schema

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    raw = write_examples(folder / "raw", train=rows(1500, 1), eval=rows(800, 2))
    schema = write_schema(folder / "schema", SCHEMA)
    transformed = Transform.call(
        out_dir=folder / "transform",
        examples=raw,
        schema=schema,
        preprocessing_fn=preprocessing_fn,
        labels=["fell"],
    )
    return Made(raw, schema, transformed.transform_graph, transformed.transformed_examples)


def train(made: Made, folder: Path, **arguments: Any) -> Any:
    defaults = {"build_model": build_model, "label": "fell", "batch_size": 64, "epochs": 4, "schema": made.schema}
    defaults |= {"examples": made.features, "transform_graph": made.graph}
    return Trainer.call(out_dir=folder, **(defaults | arguments)).model


@pytest.fixture(scope="module")
def trained(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(made, tmp_path_factory.mktemp("trained"))


CLIENT = """
import json, sys
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
wanted = serve.structured_input_signature[1]
for row in json.loads(sys.argv[2]):
    outputs = serve(**{name: tf.constant([row[name]], spec.dtype) for name, spec in wanted.items()})
    print(float(list(outputs.values())[0].numpy().ravel()[0]))
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("headrace", "keras", "tests")) and "ours")
"""


def served(folder: Path, sent: list[dict[str, Any]]) -> list[float]:
    """What a fresh Python with TensorFlow alone gets for rows."""
    command = [sys.executable, "-I", "-c", CLIENT, str(folder), json.dumps(sent)]
    *told, _ = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [float(line) for line in told]


COMPLETE = {"note": "ice wet hill ice sun", "speed": 31.0, "wind": 0.5, "wheels": 2}
MISSING = {"note": "", "speed": math.nan, "wind": math.nan}


def sent_rows() -> list[dict[str, Any]]:
    """A row as it is, without its note, without its table, with neither."""
    lacking = [[], MODALITIES["text"], MODALITIES["table"], [*MODALITIES["text"], *MODALITIES["table"]]]
    return [{**COMPLETE, **{name: MISSING[name] for name in names}} for names in lacking]


def live(made: Made, model: keras.Model, sent: list[dict[str, Any]]) -> list[float]:
    """What the Keras model itself gives for the transform's features of the same rows."""
    transform = load_transform(made.graph.path)
    raw = {
        name: tf.constant([row[name] for row in sent], transform.inputs[name].dtype)
        for name in transform.columns([one.name for one in model.inputs])
    }
    features = transform.features(raw, [one.name for one in model.inputs])
    return model(features, training=False).numpy().ravel().tolist()


def test_several_representations_of_one_text_are_stored_each_in_its_way(made: Made) -> None:
    specs = load_transform(made.graph.path).feature_specs
    assert {name: specs[name].encoding for name in ("bag", "hot", "words", "length", "note")} == {
        "bag": "sparse",
        "hot": "multi_hot",
        "words": "dense",
        "length": "dense",
        "note": "dense",
    }
    stored = made.features.read("train")
    assert pa.types.is_struct(stored.schema.field("bag").type.value_type)
    note = made.raw.read("train")["note"]
    empty = pc.is_null(note).to_numpy()
    assert pc.list_value_length(stored["bag"]).to_numpy()[empty].sum() == 0
    np.testing.assert_array_equal(stored["has_text"].to_numpy(), (~empty).astype(np.float32))
    speed, wind = (made.raw.read("train")[name].is_null().to_numpy() for name in ("speed", "wind"))
    np.testing.assert_array_equal(stored["has_table"].to_numpy(), (~(speed & wind)).astype(np.float32))


def test_training_reaches_every_branch_and_is_the_same_again(made: Made, trained: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    before = build_model(load_transform(made.graph.path).feature_inputs())
    after = keras.models.load_model(trained.path / "training" / "model.keras")
    names = [weight.path for weight in before.trainable_weights]
    assert {name.partition("/")[0] for name in names} == {"embedding", "bag_branch", "table_branch", "join", "head"}
    for weight in before.trainable_weights:
        [same] = [one for one in after.trainable_weights if one.path == weight.path]
        assert not np.allclose(weight.numpy(), same.numpy(), atol=1e-4), weight.path
    again, same = (train(made, tmp_path / name, epochs=1, train_steps=6) for name in ("again", "same"))
    assert_equal_weights(again, same)


def test_each_modality_may_be_left_out_when_it_serves(made: Made, trained: Any) -> None:
    slow = {**sent_rows()[2], "speed": 5.0}
    *found, partly = served(trained.saved_model_path, [*sent_rows(), slow])
    model = keras.models.load_model(trained.path / "training" / "model.keras")
    np.testing.assert_allclose(found, live(made, model, sent_rows()), rtol=1e-5)
    complete, no_text, no_table, nothing = found
    assert complete > max(no_text, no_table) > min(no_text, no_table) > nothing - 0.2
    assert len(set(np.round(found, 4))) == 4
    assert partly != no_table, "a table that is there in part is there"


def test_the_evaluator_sees_what_each_modality_adds(made: Made, trained: Any, tmp_path: Path) -> None:
    given = {"examples": made.raw, "model": trained, "metrics": ["auc"], "out_dir": tmp_path}
    document = Evaluator.call(**given, modalities=MODALITIES).evaluation.read()
    [output] = document["ablation"]["outputs"].values()
    for one in output["withheld"]:
        assert one["change"]["auc"]["upper"] < -0.01
    with pytest.raises(ValueError, match=r"'wheels' is int64 and never missing.*default=0"):
        Evaluator.call(**given, modalities={"table": ["speed", "wheels"]})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    save_word_vectors(folder)
    return folder


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "trained on"])
@pytest.mark.parametrize(("function", "files"), [(on_saved_keras, "words.keras"), (on_saved_model, "words/**")])
def test_an_embedding_on_disk_sits_in_the_graph(
    made: Made, pretrained: Path, tmp_path: Path, function: Any, files: str, frozen: bool
) -> None:
    model = train(
        made,
        tmp_path,
        build_model=function,
        hyperparameters={"frozen": frozen},
        pretrained={"words": str(pretrained / files)},
        epochs=1,
        train_steps=8,
    )
    before = keras.models.load_model(pretrained / "words.keras").get_layer("pretrained_vectors").get_weights()[0]
    is_keras = function is on_saved_keras
    assert (model.path / "training" / "model.keras").exists() is is_keras, "a TFSMLayer loads code from a path"
    loaded = tf.saved_model.load(str(model.saved_model_path))
    found = [v.numpy() for v in loaded.model if isinstance(v, tf.Variable) and v.shape == before.shape]
    assert len(found) == 1
    assert np.array_equal(found[0], before) is frozen
    notes = ["ice", "sun cat", "", "unheard of"]
    if not is_keras and not frozen:
        outputs = served(model.saved_model_path, [{"note": note} for note in notes])
    else:
        outputs = loaded.signatures["serving_default"](note=tf.constant(notes))["predictions"].numpy().ravel().tolist()
    assert len(set(outputs)) == 4
    head = [v.numpy() for v in loaded.model if isinstance(v, tf.Variable) and v.shape in ((3, 1), (1,))]
    kernel, bias = sorted(head, key=lambda one: -one.ndim)
    average = (found[0][4] + 4 * found[0][0]) / 5  # ice is the third word, after two special ones
    assert outputs[0] == pytest.approx(float(1 / (1 + np.exp(-(average @ kernel + bias)[0]))), rel=1e-4)


def test_the_content_of_what_is_pretrained_decides_the_cache(made: Made, pretrained: Path, tmp_path: Path) -> None:
    for source in (pretrained / "words").rglob("*"):
        if source.is_file():
            target = tmp_path / "words" / source.relative_to(pretrained / "words")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())

    def once() -> Any:
        features = Importer(source_uri=made.features.uri, artifact_type=Examples).with_id("features")
        graph = Importer(source_uri=made.graph.uri, artifact_type=TransformGraph).with_id("graph")
        schema = Importer(source_uri=made.schema.uri, artifact_type=Schema).with_id("schema")
        trainer = Trainer(
            examples=features.outputs["result"],
            transform_graph=graph.outputs["result"],
            schema=schema.outputs["result"],
            build_model="tests.small_multimodal:on_saved_model",
            hyperparameters={"frozen": True},
            pretrained={"words": f"{tmp_path}/words/**"},
            label="fell",
            train_steps=2,
            eval_split=None,
        )
        pipeline = Pipeline("pretrained", [features, graph, schema, trainer], root=str(REPOSITORY))
        return pipeline.run(root=tmp_path / "root", debug=True, report=False)["Trainer"]

    assert once().state.value == "succeeded"
    assert once().state.value == "cached"
    save_word_vectors(tmp_path)
    changed = once()
    assert changed.state.value == "succeeded"
    assert "files of pretrained changed" in changed.cache_reason


def test_files_that_would_not_count_are_refused(made: Made, pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves out 1 files of the folder"):
        train(
            made,
            tmp_path,
            build_model=on_saved_model,
            hyperparameters={"frozen": True},
            pretrained={"words": str(pretrained / "words" / "variables" / "*.index")},
        )
    for given, said in (
        ({"words": str(pretrained / "words")}, 'words/**": all of its files count'),
        ("words.keras", "expected pretrained= as a dict"),
    ):
        assert said in " ".join(fix + what for what, fix in pretrained_problems(given))
    assert not [*pretrained_problems({"words": str(pretrained / "words.keras")}), *pretrained_problems(None)]


def test_how_much_of_wide_features_is_held_at_once_changes_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = train(made, tmp_path / "usual", epochs=1)
    sizes = []
    for name in ("fit.EVAL_BYTES", "reference_rows._BATCH_BYTES", "batch_stream.WAITING_BYTES"):
        monkeypatch.setattr(f"headrace.components.training.{name}", 1 << 19)
    stream = FeatureSource.stream

    def watched(source: FeatureSource, split: str, batch_size: int, **how: Any) -> Any:
        sizes.append(batch_size)
        return stream(source, split, batch_size, **how)

    monkeypatch.setattr(FeatureSource, "stream", watched)
    bounded = train(made, tmp_path / "bounded", epochs=1)
    assert sizes[0] == 64 < sizes[1] < 800, "the rows of an evaluation at once, fewer as they are wider"
    assert_equal_weights(usual, bounded)
    one, other = (history(model)["epochs"][0] for model in (usual, bounded))
    assert one == pytest.approx(other, rel=1e-6)
    first, second = (ReferenceRows(model.path / "training" / "reference.parquet") for model in (usual, bounded))
    for name, values in first.predictions().items():
        np.testing.assert_allclose(second.predictions()[name], values, rtol=1e-6)


def test_pretrained_files_behind_a_url_are_copied(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for name in ("saved_model.pb", "variables/variables.index"):
        files.pipe(f"/pretrained/words/{name}", name.encode())
    given = {"words": "memory://pretrained/words/**", "one": "memory://pretrained/words/saved_model.pb"}
    found = local_paths(resolve_files(given), tmp_path)
    words, one = Path(found["words"]), Path(found["one"])
    copied = {path.relative_to(words).as_posix(): path.read_text() for path in words.rglob("*") if path.is_file()}
    assert copied == {name: name for name in ("saved_model.pb", "variables/variables.index")}
    assert one.is_file() and one.read_text() == "saved_model.pb"
